"""The networks of the Pareto front that are trained beside the winner: `final.pareto`."""

from collections.abc import Callable, Sequence

from cnn.core.directory import Directory
from cnn.core.errors import Error
from cnn.model.card import MODEL_CARD
from cnn.model.file_check import MODEL
from cnn.model.picture_file import PICTURES
from cnn.rundir.front import PARETO, cost_of, front
from cnn.rundir.result import FrontNetwork, WinnerOutcome
from cnn.rundir.test_predictions import TESTED
from cnn.rundir.trials import TrialResult
from cnn.search.context import Search
from cnn.search.extended_final import trained_alike
from cnn.search.make_result import model_card
from cnn.search.train_winner import train_winner
from cnn.spark.retry import SparkGone
from cnn.train.final import TEST_OUTCOME, read_tested

_FILES = (MODEL, MODEL_CARD, TESTED)


def train_front(
    search: Search,
    winner: TrialResult,
    trials: Sequence[TrialResult],
    note: Callable[[str], None],
) -> tuple[FrontNetwork, ...]:
    """Trains, saves and tests networks of the front in the same way as the winner.

    Those that an earlier driver finished, or the run before it was extended, are not trained again.
    One that fails is left out.

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
    before = trained_alike(search)
    kept = {network.number: network for network in before.pareto} if before else {}
    found = []
    for trial in wanted:
        place = search.results.sub(f"{PARETO}/{trial.number}")
        if trial.number in kept:
            # It is as the extended run had it, and is not tested again.
            for name in of_front(search.run, [trial.number]):
                search.results.write(name, search.run.read(name))
            found.append(kept[trial.number])
            continue
        try:
            outcome = _trained(search, trial, trials, place)
        except SparkGone:
            raise
        except Error as error:
            note(str(error))
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


def of_front(directory: Directory, numbers: Sequence[int]) -> list[str]:
    """The files of the trained networks with these numbers, and nothing else that lies there."""
    names = (f"{PARETO}/{number}/{name}" for number in numbers for name in _FILES)
    return [name for name in names if directory.sub(name).is_file()]


def remove_others(run: Directory, numbers: Sequence[int]) -> None:
    """Removes what is not of the networks with these numbers, and what only their making needed."""
    for name in {*run.names(PARETO)} - {*map(str, numbers)}:
        place = run.sub(f"{PARETO}/{name}")
        if not place.is_file():
            place.remove()
    for number in numbers:
        for name in (TEST_OUTCOME, PICTURES):
            if run.exists(f"{PARETO}/{number}/{name}"):
                run.delete(f"{PARETO}/{number}/{name}")


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
