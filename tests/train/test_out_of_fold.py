"""What a trial keeps of its answers about images that it was not trained on."""

from pathlib import Path

import keras
import numpy as np
import pytest
from support.made_up import manifest

from cnn.core.directory import Directory
from cnn.rundir.trials import CHECKPOINTS
from cnn.settings.schema import CacheSettings, ModelSettings, PhaseSettings
from cnn.train.batches import Images
from cnn.train.checkpoint_file import write_checkpoint
from cnn.train.fit_parts import TrainingPart
from cnn.train.job import Job
from cnn.train.label_errors import Answers
from cnn.train.out_of_fold import answers_name, keep_answers, read_answers

COUNT, NAME = 12, answers_name("00000")
LABELS = np.arange(COUNT, dtype=np.int32) % 2


def job(folder: Path) -> Job:
    return Job(
        PhaseSettings(name="search", space={}),
        *(ModelSettings(), manifest(8, {"a": 6, "b": 6}), "data", str(folder), CacheSettings()),
    )


def parts() -> list[TrainingPart]:
    """Two networks, of which each was not trained on the rows of the other."""
    pixels = np.random.default_rng(0).integers(0, 256, (COUNT, 8, 8, 1), dtype=np.uint8)
    made = []
    for own, other in ((slice(0, 6), slice(6, 12)), (slice(6, 12), slice(0, 6))):
        inputs = keras.Input((8, 8, 1), dtype="uint8")
        x = keras.layers.Flatten()(keras.layers.Rescaling(1 / 255)(inputs))
        model = keras.Model(inputs, keras.layers.Dense(2, "softmax")(x))
        rows = np.arange(COUNT)
        made.append(
            TrainingPart(
                model,
                Images(pixels, LABELS, rows[own]),
                Images(pixels, LABELS, rows[other]),
            )
        )
    return made


def test_each_image_has_the_answer_of_the_network_that_has_not_seen_it(tmp_path: Path) -> None:
    networks = parts()
    keep_answers(job(tmp_path), "00000", networks)
    found = read_answers(job(tmp_path), "00000")
    assert found is not None
    rows, answers = found
    assert rows.tolist() == [*range(6, 12), *range(6)]
    said = networks[1].model.predict_on_batch(networks[0].train.inputs[:6])
    assert answers.own[6:] == pytest.approx(said[np.arange(6), LABELS[:6]], abs=1e-6)
    assert answers.classes[6:, 0].tolist() == said.argmax(axis=1).tolist()


def test_what_is_missing_damaged_or_of_other_data_is_no_answer(tmp_path: Path) -> None:
    own = job(tmp_path)
    assert read_answers(own, "00000") is None
    answers = Answers.of(np.full((COUNT, 2), 0.5), LABELS)
    rows, data = np.arange(COUNT), own.manifest.fingerprint
    sound = {
        "rows": [rows],
        "answers": [answers.own, answers.classes, answers.probabilities],
    }
    directory = Directory(tmp_path).sub(CHECKPOINTS)

    def known(arrays: dict[str, list[np.ndarray]], fingerprint: str = data) -> bool:
        write_checkpoint(directory, NAME, arrays, {"data": fingerprint})
        return read_answers(own, "00000") is not None

    assert known(sound)
    assert not known(sound, "1" * 64)
    for wrong in (rows + 1, rows - 1, rows * 0, rows[:-1], rows.astype(float), rows[:, None]):
        assert not known(sound | {"rows": [wrong]})
    own_probability, classes, probabilities = sound["answers"]
    for damaged in (
        [own_probability * np.nan, classes, probabilities],
        [own_probability[:-1], classes, probabilities],
        [own_probability, classes + 1, probabilities],
        [own_probability, classes[:-1], probabilities[:-1]],
        [own_probability, classes.astype(float), probabilities],
        [own_probability, classes, probabilities[:, :1]],
        [own_probability, classes, probabilities * np.inf],
        [own_probability, classes],
    ):
        assert not known(sound | {"answers": damaged})
    path = tmp_path / CHECKPOINTS / f"{NAME}.npz"
    assert known(sound)
    path.write_bytes(path.read_bytes()[:-100])
    assert read_answers(own, "00000") is None


def test_a_trial_does_not_fail_for_lack_of_space(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / CHECKPOINTS).touch()  # no directory
    keep_answers(job(tmp_path), "00000", parts())
    assert "was not kept" in capsys.readouterr().out
