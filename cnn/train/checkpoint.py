"""Checkpoints: a training's state after an epoch, from which another process continues it.

A continued training gives the same result as an uninterrupted one. The state has the weights, the
optimizer's moments and the layers' random seeds; the order of the images depends only on the
training's seed and the epoch.
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
from cnn.train.checkpoint_file import read_checkpoint, write_checkpoint
from cnn.train.fit import Progress
from cnn.train.scores import Evaluation


@dataclass(frozen=True)
class Checkpoint:
    """The checkpoint of one training.

    `identity` is everything that must be the same for a training to continue from it.
    """

    directory: Directory
    name: str
    identity: Mapping[str, Any]

    def save(self, models: Sequence[keras.Model], progress: Progress) -> None:
        """Writes the state completely, replacing an earlier one."""
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
            "told": progress.last_rung,
        }
        write_checkpoint(self.directory, self.name, arrays, state)

    def try_save(self, models: Sequence[keras.Model], progress: Progress) -> None:
        """Saves the state if it can: a training must not fail for lack of a checkpoint.

        On failure an earlier checkpoint stays.
        """
        try:
            self.save(models, progress)
        except OSError as error:
            print(f"epoch {len(progress.epochs)}: the state was not saved: {error}", flush=True)

    def load(self, models: Sequence[keras.Model]) -> Progress | None:
        """Restores the saved state of compiled models.

        Returns:
            How far the training was; None, with the models unchanged, if there is no checkpoint of
            this training.
        """
        for model in models:
            model.optimizer.build(model.trainable_variables)
        variables = _variables(models)
        optimizer = _variables([model.optimizer for model in models])
        # A checkpoint has the weights twice: the last ones and the best.
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
        """A function to call after each epoch; it saves the state every `seconds` or less often."""
        last = time.monotonic()

        def save(progress: Progress) -> None:
            nonlocal last
            if time.monotonic() - last >= seconds:
                self.try_save(models, progress)
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
        last_rung=(int(told[0]), (float(told[1][0]), float(told[1][1]))) if told else None,
    )
