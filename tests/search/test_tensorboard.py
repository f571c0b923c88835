"""What TensorBoard's own reader finds in a run directory."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from support.made_up import bare_trial
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import metadata
from tensorboard.plugins.hparams.api_pb2 import STATUS_FAILURE, STATUS_SUCCESS

from cnn.core.directory import Directory
from cnn.search.tensorboard import write_events

EPOCHS = [
    {
        "epoch": number,
        "loss": 1 / number,
        "accuracy": 0.5,
        "val_loss": None if number == 2 else 0.7,
        "val_accuracy": number / 10,
        "val_balanced_accuracy": None,
        "seconds": 2.0,
    }
    for number in (1, 2, 3)
]


def load(run: Path, name: str) -> Any:
    reader = EventAccumulator(str(run / "tensorboard" / name))
    reader.Reload()
    return reader


def test_curves_and_parameters_are_read_back(tmp_path: Path) -> None:
    params = {"filters": [8, 16], "dropout": 0.25, "batch_norm": True, "conv_layers": 2}
    done = bare_trial(17, params=params, epochs=EPOCHS)
    done = done.model_copy(update={"ended": done.started + timedelta(seconds=5)})
    for _ in range(2):
        write_events(Directory(tmp_path), done)
    reader = load(tmp_path, "00017")
    curve = reader.Scalars("accuracy/validation")
    assert [event.step for event in curve] == [1, 2, 3]
    assert [event.value for event in curve] == pytest.approx([0.1, 0.2, 0.3])
    start = done.started.timestamp()
    assert [event.wall_time - start for event in curve] == pytest.approx([2, 4, 5], abs=0.01)
    assert [event.step for event in reader.Scalars("loss/validation")] == [1, 3]
    assert "balanced_accuracy/validation" not in reader.Tags()["scalars"]
    content = reader.SummaryMetadata(metadata.SESSION_START_INFO_TAG).plugin_data.content
    hparams = metadata.parse_session_start_info_plugin_data(content).hparams
    assert hparams["filters"].string_value == "[8, 16]"
    assert hparams["dropout"].number_value == 0.25
    assert hparams["batch_norm"].bool_value is True
    assert hparams["status"].string_value == "ok"


@pytest.mark.parametrize(
    ("changes", "status"),
    [({}, STATUS_SUCCESS), ({"status": "crashed", "error": "killed"}, STATUS_FAILURE)],
)
def test_a_trial_that_failed_is_told_apart(
    tmp_path: Path, changes: dict[str, Any], status: int
) -> None:
    write_events(Directory(tmp_path), bare_trial(3, **changes))
    reader = load(tmp_path, "00003")
    content = reader.SummaryMetadata(metadata.SESSION_END_INFO_TAG).plugin_data.content
    assert metadata.parse_session_end_info_plugin_data(content).status == status
