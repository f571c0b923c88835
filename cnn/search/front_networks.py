"""The networks of the Pareto front that are trained beside the winner: `final.pareto`."""

from collections.abc import Callable, Sequence

from cnn.core.directory import Directory
from cnn.core.errors import Error
from cnn.model.card import MODEL_CARD
from cnn.model.picture_file import PICTURES
from cnn.rundir.front import cost_of, front
from cnn.rundir.result import FrontNetwork, WinnerOutcome
from cnn.rundir.trials import TrialResult
from cnn.search.context import Search
from cnn.search.make_result import model_card
from cnn.search.train_winner import train_winner
from cnn.spark.retry import SparkGone
from cnn.train.final import TEST_OUTCOME, read_tested

# The folder of a run with one folder for each of them, named by its trial.
PARETO = "pareto"


def train_front(
    search: Search,
    winner: TrialResult,
    trials: Sequence[TrialResult],
    note: Callable[[str], None],
) -> tuple[FrontNetwork, ...]:
    """Trains, saves and tests networks of the front in the same way as the winner.

    Those that an earlier driver finished are not trained again. One that fails is left out.

    Args:
        search: What all phases share.
        winner: The trial that won.
        trials: All trials of the search.
        note: Called with what the user should know.

    Returns:
        As many as `final.pareto` asks for or the front of the winner's phase has, the cheapest
        first.
    """
    phase = search.settings.phase(winner.phase)
    own = [trial for trial in trials if trial.phase == phase.name]
    members = front(own, phase.objective, cost_of(phase))
    wanted = spread([t for t in members if t.number != winner.number], search.settings.final.pareto)
    found = []
    for trial in wanted:
        place = search.results.sub(f"{PARETO}/{trial.number}")
        try:
            outcome = _trained(search, trial, trials, place)
        except SparkGone:
            raise
        except Error as error:
            note(f"the network of trial {trial.number}, which is on the front, is missing: {error}")
            continue
        card = model_card(search.manifest, search.settings, trial, outcome)
        place.write(MODEL_CARD, f"{card.model_dump_json(indent=1)}\n".encode())
        found.append(_entry(trial, outcome))
    return tuple(found)


def spread(members: Sequence[TrialResult], count: int) -> list[TrialResult]:
    """`count` members of a front, evenly spread along it and with both of its ends."""
    if count >= len(members):
        return list(members)
    if count < 2:
        return list(members[:count])
    places = {round(step * (len(members) - 1) / (count - 1)) for step in range(count)}
    return [members[place] for place in sorted(places)]


def remove_leftovers(run: Directory) -> None:
    """Removes what only an unfinished run needs of these networks."""
    for name in run.names(PARETO):
        for leftover in (TEST_OUTCOME, PICTURES):
            if run.exists(f"{PARETO}/{name}/{leftover}"):
                run.delete(f"{PARETO}/{name}/{leftover}")


def _trained(
    search: Search, trial: TrialResult, trials: Sequence[TrialResult], place: Directory
) -> WinnerOutcome:
    tested = read_tested(place, trial.number, classes=len(search.manifest.classes))
    return tested or train_winner(search, trial, trials, place)


def _entry(trial: TrialResult, outcome: WinnerOutcome) -> FrontNetwork:
    test = outcome.test
    return FrontNetwork(
        number=trial.number,
        params=trial.params,
        accuracy=trial.accuracy or 0.0,
        test_accuracy=test.accuracy,
        test_interval=test.interval,
        parameters=outcome.parameters,
        operations=trial.operations,
        latency_ms=trial.latency_ms,
    )
