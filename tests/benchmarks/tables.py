"""Tables of recorded trainings, which benchmarks replay: what they have, and how they are stored.

A table is one Parquet file with a row for each training. What all trainings share is in the
metadata of its schema.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from cnn.rundir.trials import Key, objective_key
from cnn.settings.params import ModelParams
from cnn.settings.schema import PhaseSettings
from cnn.settings.toml import load_settings

_CURVE = pa.list_(pa.float32())
_SCHEMA = pa.schema(
    {
        "number": pa.int32(),
        "params": pa.string(),
        "epochs": _CURVE,
        "val_accuracy": _CURVE,
        "val_loss": _CURVE,
        "test_accuracy": _CURVE,
        "seconds": pa.float32(),
        "operations": pa.int64(),
        "parameters": pa.int64(),
        "status": pa.string(),
    }
)
_METADATA = b"trainings"


class Training(NamedTuple):
    """One configuration's training to its end, as seen in a few looks at it."""

    number: int
    params: dict[str, Any]
    # When each look was: at the end of an epoch, or before the end of the first one.
    epochs: list[float]
    val_accuracy: list[float]
    val_loss: list[float]
    test_accuracy: list[float]
    # Of one epoch.
    seconds: float
    operations: int
    parameters: int
    # "diverged" if the loss was not finite after the last look, else "ok".
    status: str

    def key(self, look: int) -> Key:
        """By what a look ranks; smaller is better."""
        found = {"loss": self.val_loss[look], "accuracy": self.val_accuracy[look]}
        return objective_key("val_accuracy", **found, balanced_accuracy=None)

    def best(self, look: int) -> int:
        """The best look so far.

        Like the program, which keeps the best weights only at the end of an epoch, it ignores
        earlier looks once there is one.
        """
        whole = [one for one in range(look + 1) if self.epochs[one] >= 1]
        return min(whole, key=self.key, default=look)

    def with_patience(self, patience: int | None) -> "Training":
        """The training as it is when it ends after so many epochs without an improvement."""
        if patience is None:
            return self
        for look, epoch in enumerate(self.epochs):
            if epoch - self.epochs[self.best(look)] >= patience:
                return self.until(look)
        return self

    def until(self, look: int) -> "Training":
        """The training as it was at a look."""
        kept = slice(look + 1)
        return self._replace(
            epochs=self.epochs[kept],
            val_accuracy=self.val_accuracy[kept],
            val_loss=self.val_loss[kept],
            test_accuracy=self.test_accuracy[kept],
            # If it was to diverge, that would have been later.
            status="ok",
        )


class Table(NamedTuple):
    """Trainings on one data set, which has so many images to train on, to validate and to test."""

    data: str
    train: int
    validation: int
    test: int
    trainings: list[Training]

    def with_patience(self) -> "Table":
        """The trainings as they are with the program's own patience."""
        phase = default_phase()
        ended = [
            training.with_patience(phase.schedule(self.train, training.params["batch_size"])[1])
            for training in self.trainings
        ]
        return self._replace(trainings=ended)

    def drawn(self, seed: int, count: int) -> "Table":
        """Some of the trainings, in random order."""
        chosen = np.random.default_rng(seed).permutation(len(self.trainings))[:count]
        return self._replace(trainings=[self.trainings[number] for number in chosen])


def default_phase(size: int = 64, **search: Any) -> PhaseSettings:
    """The search of conf/default.toml, without networks too deep for images of `size` pixels.

    In a search these count as invalid and the strategy proposes again; without them no proposal is
    lost. `search` has other settings of [search].
    """
    (phase,) = load_settings(tables={"search": search}).phases
    layers = phase.space["conv_layers"]
    possible = [
        depth
        for depth in range(int(layers.low or 1), int(layers.high or 1) + 1)
        if ModelParams(conv_layers=depth).impossible(size) is None
    ]
    space = {**phase.space, "conv_layers": layers.model_copy(update={"high": max(possible)})}
    return phase.model_copy(update={"space": space})


def write_table(path: Path, table: Table) -> None:
    """Writes a table, whole or not at all."""
    rows = [
        {**training._asdict(), "params": json.dumps(training.params)}
        for training in table.trainings
    ]
    shared = {name: value for name, value in table._asdict().items() if name != "trainings"}
    schema = _SCHEMA.with_metadata({_METADATA: json.dumps(shared).encode()})
    path.parent.mkdir(parents=True, exist_ok=True)
    staging = path.with_suffix(".partial")
    pq.write_table(pa.Table.from_pylist(rows, schema), staging, compression="zstd")
    staging.rename(path)


def read_table(path: Path) -> Table:
    """Reads what `write_table` has written."""
    stored = pq.read_table(path)
    shared = json.loads((stored.schema.metadata or {})[_METADATA])
    trainings = [
        Training(**{**row, "params": json.loads(row["params"])}) for row in stored.to_pylist()
    ]
    return Table(**shared, trainings=trainings)


def show(table: Table) -> None:
    """Prints what a table has."""
    ended = [one for one in table.trainings if one.epochs]
    last = [one.best(len(one.epochs) - 1) for one in ended]
    print(
        f"{table.data}: {len(table.trainings)} trainings on {table.train} images, "
        f"{table.validation} to validate, {table.test} to test; "
        f"{sum(one.status == 'diverged' for one in table.trainings)} diverged"
    )
    for name in ("val_accuracy", "test_accuracy"):
        values = [getattr(one, name)[look] for one, look in zip(ended, last, strict=True)]
        print(f"  {name:14} of the best epoch: {_spread(values, '.3f')}")
    print(f"  {'seconds':14} of an epoch: {_spread([one.seconds for one in ended], '.1f')}")


def _spread(values: Sequence[float], form: str) -> str:
    low, tenth, middle, ninth, high = np.quantile(values, [0, 0.1, 0.5, 0.9, 1])
    return (
        f"{low:{form}} to {high:{form}}, median {middle:{form}}, "
        f"{tenth:{form}} to {ninth:{form}} without the outer tenths"
    )
