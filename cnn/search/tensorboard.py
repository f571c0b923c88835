"""Finished trials for TensorBoard: RUN/tensorboard, with one TensorBoard run per trial.

The files are written with TensorBoard alone, since the driver does not import TensorFlow.
"""

import io
from collections.abc import Iterator

from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.compat.proto.tensor_pb2 import TensorProto
from tensorboard.compat.proto.tensor_shape_pb2 import TensorShapeProto
from tensorboard.compat.proto.types_pb2 import DT_FLOAT
from tensorboard.plugins.hparams import metadata
from tensorboard.plugins.hparams.api_pb2 import STATUS_FAILURE, STATUS_SUCCESS
from tensorboard.plugins.hparams.plugin_data_pb2 import (
    HParamsPluginData,
    SessionEndInfo,
    SessionStartInfo,
)
from tensorboard.summary.writer.record_writer import RecordWriter

from cnn.core.directory import Directory
from cnn.rundir.trials import TrialResult, trial_name

TENSORBOARD = "tensorboard"
_VERSION = "brain.Event:2"
# TensorBoard's name of a curve -> field of an epoch's result.
_SCALARS = {
    "loss/train": "loss",
    "loss/validation": "val_loss",
    "accuracy/train": "accuracy",
    "accuracy/validation": "val_accuracy",
    "balanced_accuracy/validation": "val_balanced_accuracy",
    "objective/validation": "val_objective",
}


def write_events(run: Directory, trial: TrialResult) -> None:
    """Writes a trial's curves and its row of the HParams table, completely or not at all.

    If the trial was written before, its file is replaced.
    """
    stream = io.BytesIO()
    writer = RecordWriter(stream)
    for event in _events(trial):
        writer.write(event.SerializeToString())
    # TensorBoard looks for "tfevents". The number is the same each time, and so is the name.
    name = f"events.out.tfevents.{int(trial.started.timestamp()):010d}.trial"
    run.write(f"{TENSORBOARD}/{trial_name(trial.number)}/{name}", stream.getvalue())


def _events(trial: TrialResult) -> Iterator[Event]:
    start, end = trial.started.timestamp(), trial.ended.timestamp()
    yield Event(wall_time=start, file_version=_VERSION)
    info = SessionStartInfo(start_time_secs=start, group_name=trial_name(trial.number))
    for name, value in {**trial.params, "status": trial.status}.items():
        if isinstance(value, bool):
            info.hparams[name].bool_value = value
        elif isinstance(value, int | float):
            info.hparams[name].number_value = value
        else:
            info.hparams[name].string_value = str(value)
    started = HParamsPluginData(session_start_info=info)
    yield _hparams(metadata.SESSION_START_INFO_TAG, started, start)
    at = start
    for epoch in trial.epochs:
        at = min(at + epoch.seconds, end)
        for tag, key in _SCALARS.items():
            number = getattr(epoch, key)
            if number is not None:
                scalar = Summary(value=[Summary.Value(tag=tag, simple_value=number)])
                yield Event(wall_time=at, step=epoch.epoch, summary=scalar)
    status = STATUS_SUCCESS if trial.status in {"ok", "pruned"} else STATUS_FAILURE
    ended = SessionEndInfo(status=status, end_time_secs=end)
    yield _hparams(metadata.SESSION_END_INFO_TAG, HParamsPluginData(session_end_info=ended), end)


def _hparams(tag: str, content: HParamsPluginData, at: float) -> Event:
    value = Summary.Value(
        tag=tag,
        metadata=metadata.create_summary_metadata(content),
        # The content is in the metadata, but TensorBoard requires a tensor.
        tensor=TensorProto(dtype=DT_FLOAT, tensor_shape=TensorShapeProto()),
    )
    return Event(wall_time=at, summary=Summary(value=[value]))
