"""What comes after the trials that run, and how long that takes by what is known of them.

Repetitions of the best, later phases, the winner's training and its test. What is counted is
images: those of an epoch, each as often as it is trained on.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from cnn.data.manifest import Manifest
from cnn.data.splits import TEST, TRAIN
from cnn.rundir.trials import TrialResult
from cnn.search.space import SearchSpace
from cnn.settings.dimension import Dimension
from cnn.settings.params import ModelParams
from cnn.settings.schema import FOLDS, PhaseSettings, Settings

Span = tuple[float, float]
# Of a training's epochs, where patience or a rung may end it.
_ENDS_EARLY = 0.3
# The model's file, written and read again, and the report.
_AROUND_THE_WINNER = (2.0, 8.0)
# An image is tested in a part of the time in which it is trained on.
_TESTING = 1 / 3


def images_an_epoch(phase: PhaseSettings, manifest: Manifest) -> int:
    """How many images the networks of a trial are trained on in an epoch, together."""
    networks = phase.networks(manifest.smallest_class(TRAIN))
    if networks == 1:
        return images_outside(phase, manifest)
    return _images(phase, manifest) * (networks - 1)


def images_outside(phase: PhaseSettings, manifest: Manifest) -> int:
    """How many images are outside a phase's validation folds."""
    outside = 1 - len(phase.validation_folds) / FOLDS
    return max(1, round(_images(phase, manifest) * outside))


def _images(phase: PhaseSettings, manifest: Manifest) -> int:
    images = manifest.total(TRAIN)
    return min(images, phase.train_images or images)


@dataclass(frozen=True)
class Forecast:
    """What comes after a round of trials of `phase`."""

    settings: Settings
    manifest: Manifest
    phase: PhaseSettings
    slots: int
    # How many times as many threads the winner's training has as each of the trials.
    more_threads: float = 1.0
    # Whether the round is that of the phase's repetitions.
    repeating: bool = False
    # Whether the winner's training is the rest of its trial's, of which there is none.
    keeps_state: bool = False

    @property
    def covers(self) -> str:
        """What an estimate includes."""
        said = ["the winner's training"]
        if self._later():
            said.insert(0, "later phases")
        if self.phase.confirm is not None and not self.repeating:
            said.insert(0, "repetitions")
        text = said[0] if len(said) == 1 else f"{', '.join(said[:-1])} and {said[-1]}"
        return f"{text} included"

    def further(self, setup: float, best: TrialResult | None, rate: float) -> Span:
        """Seconds of the trials that come after the round.

        `setup` is what a trial takes before it trains, `rate` the seconds for each image.
        """
        low = high = 0.0
        confirm = self.phase.confirm
        if confirm is not None and not self.repeating:
            count = confirm.top * confirm.seeds
            each = images_an_epoch(self.phase, self.manifest) * rate
            low, high = (
                _side_by_side(count, self.slots) * epochs * each
                for epochs in self._epochs_of(self.phase, best)
            )
        for phase in self._later():
            each = images_an_epoch(phase, self.manifest) * rate
            few, many = (_side_by_side(count, self.slots) for count in _trials_of(phase))
            first, last = self._epochs_of(phase, None)
            low += few * (first * each + setup)
            high += many * (last * each + setup)
        return low, high

    def winner(self, best: TrialResult | None, rate: float) -> Span:
        """Seconds of the winner's training and its test, and of what is around them."""
        final, phase = self.settings.final, self.settings.phases[-1]
        if self._later():
            # The winner will be another one, trained for as long as its own phase says.
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
        around = around_the_test(self.manifest.total(TEST), rate)
        low = epochs[0] * images * rate / faster + around[0]
        high = epochs[1] * images * rate + around[1]
        return low + setup, high + setup

    def _epochs_of(self, phase: PhaseSettings, trial: TrialResult | None) -> Span:
        """Of one training: as its trial went, or as few and as many as there may be."""
        if trial is not None and trial.epochs:
            return len(trial.epochs), max(len(trial.epochs), trial.max_epochs or 0)
        networks = phase.networks(self.manifest.smallest_class(TRAIN))
        images = math.ceil(images_an_epoch(phase, self.manifest) / networks)
        sizes = _batch_sizes(phase)
        few, many = (phase.schedule(images, size)[0] for size in (min(sizes), max(sizes)))
        early = phase.patience is not None or phase.halving
        return (few * _ENDS_EARLY if early else few), many

    def _later(self) -> tuple[PhaseSettings, ...]:
        names = [phase.name for phase in self.settings.phases]
        return self.settings.phases[names.index(self.phase.name) + 1 :]


def seconds_an_image(trial: TrialResult) -> float | None:
    """Of a trial that is done; None where it has no epoch."""
    images = trial.image_epochs()
    return trial.seconds.get("train", 0.0) / images if images else None


def around_the_test(images: int, rate: float) -> Span:
    """Seconds after the winner's training: its test on so many images, and what is written."""
    low, high = _AROUND_THE_WINNER
    return low + images * rate * _TESTING, high + images * rate


def _trials_of(phase: PhaseSettings) -> Span:
    try:
        count = SearchSpace(phase).trials()
    except KeyError:
        # A grid whose layers are as many as an earlier phase finds.
        return 1, phase.max_trials
    return count, count


def _batch_sizes(phase: PhaseSettings) -> Sequence[int]:
    varied = phase.space.get("batch_size", Dimension(choices=(ModelParams().batch_size,)))
    return [int(value) for value in varied.choices or (varied.low, varied.high) if value]


def _side_by_side(count: float, slots: int) -> int:
    return math.ceil(count / max(1, slots))


def setup_seconds(trial: TrialResult) -> float:
    """What a trial took before it trained."""
    return sum(trial.seconds.get(part, 0.0) for part in ("launch", "data", "compile"))
