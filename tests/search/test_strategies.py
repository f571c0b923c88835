"""When a strategy begins to learn."""

from typing import Any

import pytest
from hyperopt import base, rand

from cnn.search.hyperopt_documents import document_of
from cnn.search.space import SearchSpace
from cnn.search.strategies import propose
from cnn.settings.schema import PhaseSettings

SPACE = SearchSpace(
    PhaseSettings.model_validate({"name": "p", "space": {"dropout": {"low": 0.0, "high": 0.5}}})
)
DOMAIN = base.Domain(lambda _: 0.0, SPACE.expression())


def known(made: int, refused: int) -> base.Trials:
    """So many trials, after so many points that could not be built."""
    trials = base.Trials()
    results: list[dict[str, Any]] = [{"status": "fail", "refused": "too large"}] * refused
    results += [{"status": "ok", "loss": 0.1 * number} for number in range(made)]
    documents = [
        document_of(number, {"dropout": [0.001 * number]}, result, base.JOB_STATE_DONE)
        for number, result in enumerate(results)
    ]
    trials.insert_trial_docs(documents)
    trials.refresh()
    return trials


@pytest.mark.parametrize(
    ("made", "refused", "random"), [(3, 0, True), (4, 0, False), (3, 40, True), (0, 100, False)]
)
def test_points_that_could_not_be_built_are_no_start_up_trials(
    made: int, refused: int, random: bool
) -> None:
    trials = known(made, refused)
    number = made + refused
    (proposed,) = propose([number], DOMAIN, trials, 7, startup=4)
    (drawn,) = rand.suggest([number], DOMAIN, trials, 7)
    assert (proposed["misc"]["vals"] == drawn["misc"]["vals"]) == random
