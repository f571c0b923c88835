"""When more trials would find nothing that the validation images can show."""

import math
import statistics
from collections.abc import Sequence

from cnn.core.clock import duration
from cnn.rundir.trials import TrialResult, counts
from cnn.search.simplest import error_of
from cnn.search.winner import best_trials
from cnn.settings.schema import PhaseSettings

# So many of the best trials must be within one standard error of each other.
_BEST = 5
# The least gain in accuracy that is worth going on for.
_LEAST_GAIN = 0.001


def saturated(
    phase: PhaseSettings, trials: Sequence[TrialResult], chance: float = 0.0
) -> str | None:
    """Why a phase is saturated, and how much it saves to end it; None if it is not.

    It is once the start-up trials and as many again have run to their end, the best five are within
    one standard error of each other, and the expected gain of the trials that are left is below
    0.001 and below half a validation image. A grid is tried whole, and the standard error is that
    of a proportion of images, so only a strategy with `val_accuracy` alone can be saturated. Nor is
    a phase whose best trial is no better than guessing: networks that guess are all equal.

    Args:
        phase: The phase's settings.
        trials: Its trials so far, without repetitions.
        chance: The accuracy of guessing the largest class.
    """
    if not phase.saturation or phase.strategy == "grid" or not phase.by_accuracy:
        return None
    made = [trial for trial in trials if counts(trial)]
    left = phase.max_trials - len(made)
    done = sum(trial.status == "ok" for trial in trials)
    if left < 1 or done < max(_BEST, 2 * phase.startup_trials):
        return None
    best = best_trials(trials, phase.objective, _BEST)
    images = best[0].validation_images
    if not images:
        return None
    scores = [trial.accuracy or 0.0 for trial in best]
    error = error_of(best[0])
    scored = sum(trial.status in {"ok", "pruned"} for trial in trials)
    gain = expected_gain(scores, scored, left)
    if scores[0] <= chance + error or scores[0] - scores[-1] > error:
        return None
    if gain >= min(_LEAST_GAIN, 0.5 / images):
        return None
    seconds = statistics.fmean((t.ended - t.started).total_seconds() for t in made)
    more = f"another {left} trials" if left > 1 else "another trial"
    return (
        f"its {_BEST} best trials are within one standard error ({error:.4f}) of each other, and "
        f"{more}, about {duration(left * seconds)} of training, would hardly improve on "
        f"{scores[0]:.4f} (search.saturation)"
    )


def expected_gain(best: Sequence[float], scored: int, left: int) -> float:
    """By how much the best of more trials is expected to exceed the best so far.

    If the upper tail of the scores is exponential, as that of many distributions is nearly, its
    scale is the mean by which scores exceed a high one (Pickands, 1975), and the best of n scores
    grows by the scale times the logarithm of n.

    Args:
        best: The best scores, at least two, the best first; at most 1.
        scored: How many scores they are the best of.
        left: How many more there would be.

    >>> round(expected_gain([0.92, 0.91, 0.90], scored=20, left=80), 4)
    0.0241
    >>> expected_gain([1.0, 1.0, 1.0], scored=20, left=80)
    0.0
    """
    *above, threshold = best
    scale = statistics.fmean(above) - threshold
    return min(scale * math.log(1 + left / scored), 1 - best[0])
