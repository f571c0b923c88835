"""The last step of a run: which labels are probably wrong, in a process on an executor.

TensorFlow is imported inside the functions because the driver imports this module too.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from cnn.core.directory import Directory
from cnn.data.arrays import Pixels, open_pixels, read_paths
from cnn.data.splits import TEST, TRAIN
from cnn.model.picture_file import PICTURE_SCHEMA, PICTURES, SUSPECT, read_rows
from cnn.rundir.suspects import (
    OUT_OF_FOLD,
    OUT_OF_FOLD_SCHEMA,
    LabelCheck,
    Suspect,
    write_suspects,
)
from cnn.rundir.test_predictions import UnreadablePredictions, read_test_probabilities
from cnn.rundir.trials import trial_name
from cnn.settings.params import TrainingParams
from cnn.train.job import Job
from cnn.train.label_errors import Answers, LabelErrors, find_label_errors
from cnn.train.out_of_fold import CROSS_VALIDATION, cross_validate, read_answers
from cnn.train.pictures import as_png, write_parquet

_MOST_PICTURES = 24
_SPLITS = (TRAIN, TEST)


@dataclass(frozen=True)
class LabelJob:
    """The winner, whose networks judge the labels."""

    job: Job
    number: int
    params: TrainingParams
    seed: int
    # Whether it is cross-validated first, so that all training images are judged.
    cross_validation: bool


@dataclass(frozen=True)
class _Judged:
    """The images of a split that a network has judged that was not trained on them."""

    name: str
    split: Pixels
    rows: np.ndarray
    answers: Answers

    def labels(self) -> np.ndarray:
        """The labels of the rows, int (n,)."""
        return np.asarray(self.split.labels)[self.rows]


def check_labels(asked: LabelJob) -> LabelCheck:
    """Finds the labels that are probably wrong.

    Writes suspects.csv with their pictures, and out-of-fold.parquet.
    """
    job = asked.job
    run, classes = job.winner_directory(), job.manifest.classes
    judged = [*_trained(asked), *_tested(job)]
    counts = {name: sum(len(one.rows) for one in judged if one.name == name) for name in _SPLITS}
    paths = {one.name: read_paths(Directory(job.data), one.name) for one in judged}
    suspects: list[Suspect] = []
    poor = False
    if judged:
        answers = Answers.joined(*(one.answers for one in judged))
        labels = np.concatenate([one.labels() for one in judged])
        found = find_label_errors(answers, labels, len(classes))
        poor = found.too_poor
        suspects, pictures = _described(classes, judged, paths, found)
        _add_pictures(run, pictures)
        _write_answers(run, judged, paths)
    write_suspects(run, suspects)
    return LabelCheck(suspects=len(suspects), judged=counts, too_poor=poor)


def _trained(asked: LabelJob) -> Iterator[_Judged]:
    """The training images that were held out; none if what was said of them is lost."""
    job = asked.job
    name = CROSS_VALIDATION if asked.cross_validation else trial_name(asked.number)
    found = read_answers(job, name)
    if found is None and asked.cross_validation:
        cross_validate(job, asked.params, asked.seed, asked.number)
        found = read_answers(job, name)
    if found is not None:
        split = open_pixels(Directory(job.data), job.manifest, TRAIN, job.cache)
        yield _Judged(TRAIN, split, *found)


def _tested(job: Job) -> Iterator[_Judged]:
    """The test images, as the winner has judged them in its test."""
    split = open_pixels(Directory(job.data), job.manifest, TEST, job.cache)
    try:
        said = read_test_probabilities(job.winner_directory(), len(job.manifest.classes))
    except UnreadablePredictions:
        return
    rows = np.arange(len(split.labels))
    if len(said) == len(rows) and np.isfinite(said).all():
        yield _Judged(TEST, split, rows, Answers.of(said, np.asarray(split.labels)))


def _described(
    classes: Sequence[str],
    judged: Sequence[_Judged],
    paths: Mapping[str, Sequence[str]],
    found: LabelErrors,
) -> tuple[list[Suspect], list[dict[str, object]]]:
    """The suspects, and the rows of PICTURE_SCHEMA of the surest."""
    suspects: list[Suspect] = []
    pictures: list[dict[str, object]] = []
    starts = np.cumsum([0, *(len(one.rows) for one in judged)])
    for place, suggested, probability in zip(
        found.images, found.suggested, found.probability, strict=True
    ):
        which = int(np.searchsorted(starts, place, side="right")) - 1
        own, at = judged[which], place - starts[which]
        row = int(own.rows[at])
        path, label = paths[own.name][row], int(own.split.labels[row])
        suspect = Suspect(
            path=path,
            label=classes[label],
            suggested=classes[suggested],
            probability=float(probability),
            own_probability=float(own.answers.own[at]),
            split=own.name,
        )
        suspects.append(suspect)
        if len(pictures) < _MOST_PICTURES:
            pictures.append(
                {
                    "kind": SUSPECT,
                    "path": path,
                    "label": label,
                    "prediction": int(suggested),
                    "probability": float(probability),
                    "png": as_png(own.split.pixels[row], small=True),
                }
            )
    return suspects, pictures


def _write_answers(
    run: Directory, judged: Sequence[_Judged], paths: Mapping[str, Sequence[str]]
) -> None:
    """Writes what is said of the training images; test.parquet has that of the test images."""
    for own in judged:
        if own.name != TRAIN:
            continue
        said = own.answers
        columns = [
            [paths[TRAIN][row] for row in own.rows],
            own.labels(),
            said.classes[:, 0],
            said.own,
            list(said.classes),
            list(said.probabilities),
        ]
        write_parquet(run, OUT_OF_FOLD, pa.table(columns, schema=OUT_OF_FOLD_SCHEMA))


def _add_pictures(run: Directory, pictures: Sequence[dict[str, object]]) -> None:
    """Adds the suspects' pictures to those of the test; without these there are none."""
    try:
        others = [row for row in read_rows(run) if row["kind"] != SUSPECT]
    except (OSError, ValueError, pa.ArrowException):
        return
    table = pa.Table.from_pylist([*others, *pictures], schema=PICTURE_SCHEMA)
    write_parquet(run, PICTURES, table)
