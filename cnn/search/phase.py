"""One phase of a search: its round of trials, then the repetition of the best."""

import time

from cnn.rundir.trials import TrialResult
from cnn.search.confirm import plan_confirmation
from cnn.search.context import Search
from cnn.search.dispatcher import MAX_REFUSALS
from cnn.search.phase_rounds import ConfirmationRound, SearchRound
from cnn.search.phase_trials import PhaseTrials
from cnn.search.space import SearchSpace
from cnn.settings.schema import PhaseSettings


def run_phase(
    search: Search,
    phase: PhaseSettings,
    space: SearchSpace,
    first_number: int,
    timeout: float | None,
) -> tuple[list[TrialResult], str | None]:
    """Runs a phase.

    Args:
        search: What all phases share.
        phase: The phase's settings.
        space: The phase's search space.
        first_number: The number of the phase's first trial.
        timeout: Seconds until the phase ends; None for no limit.

    Returns:
        The phase's trials by number, and why it ended early, or None.

    Raises:
        Error: Too many trials in a row have failed.
    """
    deadline = None if timeout is None else time.monotonic() + timeout
    names = [phase.name for phase in search.settings.phases]
    later = names[names.index(phase.name) + 1 :]
    trials = PhaseTrials(search, phase)
    reason = trials.stopping.reason()
    # Only the last phase of a finished run goes on.
    ended = search.extension is not None and bool(later)
    over = ended or any(trial.phase in later for trial in search.earlier)
    # The search was over when its best trials began to be repeated.
    begun = any(trial.number >= search.first_new for trial in trials.repeated())
    if over or begun or reason is not None:
        # An earlier driver had ended this phase; the trials that it cancelled stay cancelled.
        trials.leave_cancelled()
        if begun and reason is None and trials.made() < space.trials():
            reason = "the repetition of its best trials had begun"
    elif SearchRound(search, phase, space, trials, first_number).run(deadline):
        return trials.all(), "the timeout was reached"
    else:
        reason = trials.stopping.reason()
        if reason is None and not space.is_grid and trials.made() < space.trials():
            reason = (
                f"none of {MAX_REFUSALS:,} proposals in a row was a new configuration that can be "
                "built"
            )
    saturated = begun or trials.stopping.is_saturated
    plan = plan_confirmation(phase, search.settings.final, trials.all(), saturated=saturated)
    if not over and plan is not None:
        again = ConfirmationRound(search, phase, space, trials, plan)
        if len(again.earlier) < again.total and again.run(deadline):
            reason = "the timeout was reached before the best trials were repeated"
    return trials.all(), reason
