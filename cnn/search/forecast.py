"""How long the rest of a search takes after the current round of trials.

The rest is the repetitions of the best trials, later phases, and the winner's training and test.
The unit of work is one image trained on once; its duration is known from earlier trials.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from cnn.data.manifest import Manifest
from cnn.data.splits import TEST, TRAIN
from cnn.rundir.trials import TrialResult
from cnn.search.space import SearchSpace
from cnn.settings.dimension import Dimension
from cnn.settings.params import NO_BACKBONE, ModelParams
from cnn.settings.schema import FEW_IMAGES, FOLDS, PhaseSettings, Settings

Span = tuple[float, float]
# The smallest part of a training's epochs that is expected if patience or a rung may end it.
_SHORTEST = 0.3
# Seconds to write the model's file, read it back, and write the report.
_SAVING = (2.0, 8.0)
# Testing an image takes at least this part of the time that training on it takes.
_TESTING = 1 / 3


def images_an_epoch(phase: PhaseSettings, manifest: Manifest, few_images: int = FEW_IMAGES) -> int:
    """The images that all networks of a trial together are trained on in one epoch."""
    networks = phase.networks(manifest.smallest_class(TRAIN), few_images)
    if networks == 1:
        return images_outside(phase, manifest)
    return _images(phase, manifest) * (networks - 1)


def images_outside(phase: PhaseSettings, manifest: Manifest) -> int:
    """The number of training images outside a phase's validation folds."""
    outside = 1 - len(phase.validation_folds) / FOLDS
    return max(1, round(_images(phase, manifest) * outside))


def _images(phase: PhaseSettings, manifest: Manifest) -> int:
    images = manifest.total(TRAIN)
    return min(images, phase.train_images or images)


@dataclass(frozen=True)
class Forecast:
    """The work that follows a round of trials of `phase`."""

    settings: Settings
    manifest: Manifest
    phase: PhaseSettings
    slots: int
    # The threads of the winner's training divided by those of a trial.
    more_threads: float = 1.0
    # Whether the round repeats the phase's best trials.
    repeating: bool = False
    # Whether the winner's training continues its trial's, so that no epochs are left.
    keeps_state: bool = False

    @property
    def covers(self) -> str:
        """What an estimate of the time left includes, in words."""
        said = ["the winner's training"]
        if self._later():
            said.insert(0, "later phases")
        if self.phase.confirms_always is not None and not self.repeating:
            said.insert(0, "repetitions")
        text = said[0] if len(said) == 1 else f"{', '.join(said[:-1])} and {said[-1]}"
        return f"{text} included"

    @property
    def is_unforeseen(self) -> bool:
        """Whether a later phase has networks of a kind that this one does not have.

        One image takes a head on features a thousandth of the time that fine-tuning takes.
        """
        return any(_kinds(phase) - _kinds(self.phase) for phase in self._later())

    def further(self, setup: float, best: TrialResult | None, rate: float) -> Span:
        """The seconds of all trials after the round, at least and at most.

        Args:
            setup: The seconds before a trial trains.
            best: The best trial so far.
            rate: The seconds per image.
        """
        low = high = 0.0
        confirm = self.phase.confirms_always
        if confirm is not None and not self.repeating:
            count = confirm.top * confirm.seeds
            each = self.images_an_epoch(self.phase) * rate
            low, high = (
                _waves(count, self.slots) * epochs * each
                for epochs in self._epochs_of(self.phase, best)
            )
        for phase in self._later():
            each = self.images_an_epoch(phase) * rate
            few, many = (_waves(count, self.slots) for count in _trials_of(phase))
            first, last = self._epochs_of(phase, None)
            low += few * (first * each + setup)
            high += many * (last * each + setup)
        return low, high

    def finals(self, best: TrialResult | None, rate: float) -> Span:
        """The seconds for the winner, and for the networks of the front that are trained like it.

        There may be fewer on the front than asked for.
        """
        low, high = self.winner(best, rate)
        return low, high * (1 + self.settings.final.pareto)

    def winner(self, best: TrialResult | None, rate: float) -> Span:
        """The seconds to train, save and test the winner, at least and at most."""
        final, phase = self.settings.final, self.settings.phases[-1]
        if self._later():
            # The winner will be another trial, trained for as long as its own phase says.
            best = None
        images = self.manifest.total(TRAIN)
        if final.data == "train":
            images = images_outside(phase.model_copy(update={"train_images": None}), self.manifest)
        epochs = self._epochs_of(phase, best)
        if final.epochs is not None:
            epochs = (final.epochs, final.epochs)
        elif self.keeps_state:
            epochs = (0, 0)
        elif final.data == "all" and best is not None and best.best_epoch:
            epochs = (best.best_epoch, best.best_epoch)
        setup = 0.0 if best is None else setup_seconds(best)
        faster = max(1.0, self.more_threads) * final.workers
        after = saving_and_test(self.manifest.total(TEST), rate)
        low = epochs[0] * images * rate / faster + after[0]
        high = epochs[1] * images * rate + after[1]
        return low + setup, high + setup

    def _epochs_of(self, phase: PhaseSettings, trial: TrialResult | None) -> Span:
        """The epochs of one training, at least and at most: as `trial` had, if it is known."""
        if trial is not None and trial.epochs:
            return len(trial.epochs), max(len(trial.epochs), trial.max_epochs or 0)
        smallest = self.manifest.smallest_class(TRAIN)
        networks = phase.networks(smallest, self.settings.few_images)
        images = math.ceil(self.images_an_epoch(phase) / networks)
        sizes = _batch_sizes(phase)
        few, many = (phase.schedule(images, size)[0] for size in (min(sizes), max(sizes)))
        early = phase.patience is not None or phase.halving
        return (few * _SHORTEST if early else few), many

    def images_an_epoch(self, phase: PhaseSettings) -> int:
        """The images that all networks of a trial are trained on in one epoch of a phase."""
        return images_an_epoch(phase, self.manifest, self.settings.few_images)

    def _later(self) -> tuple[PhaseSettings, ...]:
        names = [phase.name for phase in self.settings.phases]
        return self.settings.phases[names.index(self.phase.name) + 1 :]


def _kinds(phase: PhaseSettings) -> set[str]:
    """The kinds of networks that a phase names: from scratch, fine-tuned."""
    absent = Dimension(choices=("fixed by another phase" if phase.origin else NO_BACKBONE,))
    backbones = phase.space.get("backbone", absent)
    shares = phase.space.get("fine_tune", Dimension(choices=(0.0,)))
    kinds = {"scratch"} if NO_BACKBONE in (backbones.choices or ()) else set()
    return kinds | ({"fine_tuned"} if any(shares.choices or (shares.high,)) else set())


def seconds_an_image(trial: TrialResult) -> float | None:
    """The seconds per image of a finished trial; None if it has no epoch."""
    images = trial.image_epochs()
    return trial.seconds.get("train", 0.0) / images if images else None


def saving_and_test(images: int, rate: float) -> Span:
    """The seconds after the winner's training: to save it and to test it on `images` images."""
    low, high = _SAVING
    return low + images * rate * _TESTING, high + images * rate


def _trials_of(phase: PhaseSettings) -> Span:
    try:
        count = SearchSpace(phase).trials()
    except KeyError:
        # The size of this grid depends on the number of layers that an earlier phase finds.
        return 1, phase.max_trials
    return count, count


def _batch_sizes(phase: PhaseSettings) -> Sequence[int]:
    varied = phase.space.get("batch_size", Dimension(choices=(ModelParams().batch_size,)))
    return [int(value) for value in varied.choices or (varied.low, varied.high) if value]


def _waves(count: float, slots: int) -> int:
    """How many trials run one after the other if `slots` run at the same time."""
    return math.ceil(count / max(1, slots))


def setup_seconds(trial: TrialResult) -> float:
    """The seconds before a trial trained."""
    return sum(trial.seconds.get(part, 0.0) for part in ("launch", "data", "compile"))
