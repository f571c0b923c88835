"""One phase of a search: its trials, each on disk before the next is proposed from it."""

import time

from cnn.rundir.trials import TrialResult
from cnn.search.context import Search
from cnn.search.phase_trials import PhaseTrials
from cnn.search.rounds import ConfirmationRound, SearchRound
from cnn.search.space import SearchSpace
from cnn.settings.schema import PhaseSettings


def run_phase(
    search: Search,
    phase: PhaseSettings,
    space: SearchSpace,
    first_number: int,
    timeout: float | None,
) -> tuple[list[TrialResult], str | None]:
    """All trials of a phase by number, and why it ended before all were done, if it did.

    Raises Error where too many trials in a row have failed.
    """
    deadline = None if timeout is None else time.monotonic() + timeout
    names = [phase.name for phase in search.settings.phases]
    later = names[names.index(phase.name) + 1 :]
    trials = PhaseTrials(search, phase)
    reason = trials.stopping.reason()
    over = any(trial.phase in later for trial in search.earlier)
    if over or reason is not None:
        # An earlier driver had ended the search: what it cancelled then stays cancelled.
        trials.leave_cancelled()
    elif SearchRound(search, phase, space, trials, first_number).run(deadline):
        return trials.all(), "the time was up"
    else:
        reason = trials.stopping.reason()
    if not over and phase.confirm is not None:
        again = ConfirmationRound(search, phase, space, trials)
        if len(again.earlier) < again.total and again.run(deadline):
            reason = "the time was up before the best were trained again"
    return trials.all(), reason
