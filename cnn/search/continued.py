"""Whether a phase that continues another's networks has improved them by more than chance."""

from collections.abc import Mapping

import numpy as np

from cnn.rundir.result import RESULT, read_result
from cnn.rundir.trials import TrialResult, trial_key, trial_name
from cnn.search.context import Search
from cnn.settings.schema import PhaseSettings
from cnn.train.label_errors import Answers
from cnn.train.out_of_fold import read_answers

# The smallest probability whose logarithm Keras takes in a loss.
_EPSILON = 1e-7


def winner_after(
    search: Search, phase: PhaseSettings, best: TrialResult, winners: Mapping[str, TrialResult]
) -> TrialResult:
    """The trial that wins once a phase is over.

    It is the best trial of the phase. If the phase continues the networks of another (`start`),
    both are validated on the same images, and what won there wins again unless it was improved:
    fine-tuning must earn its place.

    Args:
        search: What all phases share.
        phase: The phase.
        best: Its best trial.
        winners: By earlier phase: the trial that won once it was over.
    """
    if phase.start is None or improved(search, phase, winners[phase.start], best):
        return best
    return winners[phase.start]


def improved(search: Search, phase: PhaseSettings, start: TrialResult, best: TrialResult) -> bool:
    """Whether the best trial of a phase is better than the trial that it continues.

    Both were validated on the same images. By accuracy or loss it must be better by more than one
    standard error of the mean difference over these images (a paired comparison), because training
    further costs time and is easily overdone. With another objective, or if what the networks said
    is not known any more, being better is enough.

    Args:
        search: What all phases share.
        phase: The later phase.
        start: The trial that it continues, or the one that had won against that.
        best: Its best trial.
    """
    objective = phase.objective
    if trial_key(objective, best) >= trial_key(objective, start):
        return False
    before = read_answers(search.job(search.settings.phase(start.phase)), trial_name(start.number))
    after = read_answers(search.job(phase), trial_name(best.number))
    if before is None or after is None:
        return _as_before(search, phase, best)
    (rows, first), (others, second) = before, after
    order, other_order = np.argsort(rows), np.argsort(others)
    if not np.array_equal(rows[order], others[other_order]):
        return True
    if objective == "val_accuracy":
        old, new = _correct(first), _correct(second)
    elif objective == "val_loss":
        old, new = -_losses(first), -_losses(second)
    else:
        return True
    return beyond_chance(new[other_order] - old[order])


def beyond_chance(gains: np.ndarray) -> bool:
    """Whether the mean of the images' gains, float (n,), exceeds its standard error.

    >>> beyond_chance(np.array([1.0, 0.0, 1.0, 1.0]))
    True
    >>> beyond_chance(np.array([0.0] * 9 + [1.0]))
    False
    """
    if len(gains) < 2:
        return True
    # One image that is mended has a mean and an error that are equal but for their rounding.
    error = gains.std(ddof=1) / np.sqrt(len(gains))
    return bool(gains.mean() > (1 + 1e-9) * error)


def _correct(answers: Answers) -> np.ndarray:
    """Whether the label was the likeliest class of each image, as 0 or 1."""
    return (answers.own >= answers.probabilities[:, 0]).astype(float)


def _losses(answers: Answers) -> np.ndarray:
    """The cross-entropy of each image."""
    return -np.log(np.clip(answers.own, _EPSILON, 1))


def _as_before(search: Search, phase: PhaseSettings, best: TrialResult) -> bool:
    """What was decided of the same trial before the run was extended; True if nothing was."""
    if search.extension is None or not search.run.exists(RESULT):
        return True
    entries = {entry.name: entry for entry in read_result(search.run).phases}
    entry = entries.get(phase.name)
    return entry is None or entry.best != best.number or entry.improved is not False
