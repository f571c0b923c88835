"""A training's state after an epoch, on disk, so that another process can go on from it.

With what stands here the rest of a training is what it would have been: weights, the optimizer's
moments and the random seeds of its layers; the order of the images follows from seed and epoch.
"""

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from cnn.core.directory import Directory
from cnn.rundir.trials import EpochResult
from cnn.train.checkpoint import read_checkpoint, write_checkpoint
from cnn.train.fit import Progress
from cnn.train.scores import Evaluation


@dataclass(frozen=True)
class Snapshot:
    """Where one training keeps its state. `identity` is all that must be the same to go on."""

    directory: Directory
    name: str
    identity: Mapping[str, Any]

    def save(self, models: Sequence[keras.Model], progress: Progress) -> None:
        """Writes the state whole, in place of an earlier one."""
        arrays = {
            "model": _values(_variables(models)),
            "optimizer": _values(_variables([model.optimizer for model in models])),
            "best": list(progress.best_weights or ()),
        }
        state = {
            "identity": dict(self.identity),
            "epochs": [epoch.model_dump() for epoch in progress.epochs],
            "best_epoch": progress.best_epoch,
            "best": _scores(progress.best),
            "told": progress.told,
        }
        write_checkpoint(self.directory, self.name, arrays, state)

    def keep(self, models: Sequence[keras.Model], progress: Progress) -> None:
        """The same where the storage lets it: no training is to fail for what it could do without.

        What was saved before stays.
        """
        try:
            self.save(models, progress)
        except OSError as error:
            print(f"epoch {len(progress.epochs)}: the state was not saved: {error}", flush=True)

    def load(self, models: Sequence[keras.Model]) -> Progress | None:
        """Puts compiled models in the state that was saved.

        None, and the models as they were, where there is no checkpoint of this very training.
        """
        for model in models:
            model.optimizer.build(model.trainable_variables)
        variables = _variables(models)
        optimizer = _variables([model.optimizer for model in models])
        # The weights twice: now, and at their best.
        most = sum(value.nbytes for value in _values([*variables, *variables, *optimizer]))
        found = read_checkpoint(self.directory, self.name, most)
        if found is None:
            return None
        arrays, state = found
        fits = _same_shapes(variables, arrays.get("model", ())) and _same_shapes(
            optimizer, arrays.get("optimizer", ())
        )
        if state.get("identity") != dict(self.identity) or not fits:
            return None
        try:
            progress = _progress(state, arrays["best"])
        except (LookupError, TypeError, ArithmeticError, ValueError):
            return None
        for variable, value in zip(variables, arrays["model"], strict=True):
            variable.assign(value)
        for variable, value in zip(optimizer, arrays["optimizer"], strict=True):
            variable.assign(value)
        return progress

    def every(self, seconds: float, models: Sequence[keras.Model]) -> Callable[[Progress], None]:
        """What saves the state after an epoch, where so many seconds have passed."""
        last = time.monotonic()

        def save(progress: Progress) -> None:
            nonlocal last
            if time.monotonic() - last >= seconds:
                self.keep(models, progress)
                last = time.monotonic()

        return save


def _variables(owners: Sequence[Any]) -> list[Any]:
    return [variable for owner in owners for variable in owner.variables]


def _values(variables: Sequence[Any]) -> list[np.ndarray]:
    return [np.asarray(variable.numpy()) for variable in variables]


def _same_shapes(variables: Sequence[Any], values: Sequence[np.ndarray]) -> bool:
    shapes = [tuple(variable.shape) for variable in variables]
    return shapes == [value.shape for value in values]


def _scores(found: Evaluation | None) -> dict[str, Any] | None:
    if found is None:
        return None
    return {**dataclasses.asdict(found), "confusion": found.confusion.tolist()}


def _progress(state: Mapping[str, Any], best_weights: Sequence[np.ndarray]) -> Progress:
    best, told = state["best"], state["told"]
    if best is not None:
        best = Evaluation(**{**best, "confusion": np.array(best["confusion"], np.int64)})
    return Progress(
        epochs=tuple(EpochResult.model_validate(epoch) for epoch in state["epochs"]),
        best_epoch=int(state["best_epoch"]),
        best=best,
        best_weights=best_weights or None,
        told=(int(told[0]), (float(told[1][0]), float(told[1][1]))) if told else None,
    )
