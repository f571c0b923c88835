"""What a search takes from earlier runs, with the real TPE."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hyperopt import base
from support.made_up import bare_trial

from cnn.core.directory import Directory
from cnn.core.errors import InputError
from cnn.rundir.earlier_runs import EarlierRuns, read_earlier, write_earlier
from cnn.rundir.trials import write_trial
from cnn.search.hyperopt_documents import document_of, point_of
from cnn.search.space import SearchSpace
from cnn.search.strategies import strategy
from cnn.search.warm_start import warm_start
from cnn.settings.schema import SETTINGS, Settings
from cnn.settings.toml import dump_settings, load_settings

RATES = {"low": 1e-5, "high": 1e-1, "log": True}
BEST = 3e-3


def settings(**space: Any) -> Settings:
    tables = {"search": {"objective": "val_loss", "seed": 5}, "space": space}
    loaded = load_settings([], tables=tables, flags={}, assignments=[])
    own = {name: loaded.phases[0].space[name] for name in space}
    phase = loaded.phases[0].model_copy(update={"space": own})
    return loaded.model_copy(update={"phases": (phase,)})


def earlier_run(folder: Path, count: int = 30, scale: float = 1.0, **space: Any) -> Directory:
    """A run whose loss is least at a learning rate of 0.003."""
    run, rng = Directory(folder), np.random.default_rng(0)
    run.create()
    run.write(SETTINGS, dump_settings(settings(**space)).encode())
    for number in range(count):
        rate = float(10 ** rng.uniform(-5, -1))
        params = {"learning_rate": rate, "filters": 16 if number % 2 else 256}
        loss = scale * abs(math.log(rate / BEST))
        write_trial(run, bare_trial(number, params=params, loss=loss, accuracy=0.5))
    return run


def proposed(new: Settings, known: EarlierRuns, own: int = 0) -> list[float]:
    """The learning rates that TPE proposes next, after `own` trials that all failed to be good."""
    phase = new.phases[0]
    space = SearchSpace(phase)
    domain = base.Domain(lambda _: 0.0, space.expression())
    suggest, rates = strategy(space, 0, None, known), []
    trials = base.Trials()
    done = {"status": "ok", "loss": 99.0}
    documents = [
        document_of(number, {"learning_rate": [1e-5 * (number + 1)]}, done, base.JOB_STATE_DONE)
        for number in range(own)
    ]
    trials.insert_trial_docs(documents)
    trials.refresh()
    for number in range(own, own + 12):
        (document,) = suggest([number], domain, trials, 0)
        rates.append(space.params(point_of(domain, document)).learning_rate)
    return rates


def off(rates: list[float]) -> float:
    return float(np.median([abs(math.log(rate / BEST)) for rate in rates]))


@pytest.mark.parametrize("own", [0, 3])
def test_tpe_learns_from_all_trials_of_runs_with_the_same_space(tmp_path: Path, own: int) -> None:
    new = settings(learning_rate=RATES)
    runs = [
        earlier_run(tmp_path / "one", learning_rate=RATES),
        earlier_run(tmp_path / "other", scale=1e4, learning_rate=RATES),
    ]
    warm = warm_start(new, runs)
    assert len(warm.earlier.trials) == 60
    assert [list(point) for point in warm.settings.phases[0].points] == [["learning_rate"]]
    assert "the strategy knows 30 of its trials" in warm.remarks[0]
    assert off(proposed(new, warm.earlier, own)) < 0.7 * off(proposed(new, EarlierRuns(), own))
    # The scale of the scores does not matter, nor does a resumption.
    same = warm_start(new, [runs[0], runs[0]]).earlier
    write_earlier(runs[1], same)
    assert proposed(new, read_earlier(runs[1]), own) == proposed(new, warm.earlier, own)


def test_from_another_space_the_best_points_inside_are_tried_and_others_named(
    tmp_path: Path,
) -> None:
    run = earlier_run(tmp_path / "run", learning_rate=RATES)
    narrow = {"low": 1e-3, "high": 1e-2, "log": True}
    new = settings(learning_rate=narrow, filters={"choices": [16, 32]})
    warm = warm_start(new, [run])
    points = warm.settings.phases[0].points
    assert len(points) == 3
    assert all(
        point["filters"] == 16 and 1e-3 <= point["learning_rate"] <= 1e-2 for point in points
    )
    assert warm.earlier.trials == ()
    (remark,) = warm.remarks
    assert "are outside the search space and left out (trial" in remark
    assert "knows" not in remark
    elsewhere = warm_start(settings(learning_rate={"choices": [0.7, 0.8]}), [run])
    assert elsewhere.settings.phases[0].points == ()
    assert "nothing of it is tried first; 30 are outside" in elsewhere.remarks[0]


def test_a_space_that_varies_less_is_given_each_point_once(tmp_path: Path) -> None:
    run = earlier_run(tmp_path / "run", learning_rate=RATES)
    narrow = settings(filters={"choices": [16, 256]})
    warm = warm_start(narrow, [run]).settings.phases[0].points
    assert sorted(point["filters"] for point in warm) == [16, 256]
    nothing = warm_start(settings(filters=16), [run, run])
    assert nothing.settings.phases[0].points == ()
    assert all("nothing of it is tried first" in remark for remark in nothing.remarks)


def test_with_two_objectives_earlier_trials_are_ranked_by_both(tmp_path: Path) -> None:
    new = settings(filters={"choices": [8, 16, 32, 64]})
    new = new.model_copy(
        update={"phases": (new.phases[0].model_copy(update={"cost": "operations"}),)}
    )
    run = Directory(tmp_path / "run")
    run.create()
    run.write(SETTINGS, dump_settings(new).encode())
    # The last one is no better than the one before, and dearer.
    for number, (filters, loss) in enumerate([(8, 0.4), (16, 0.2), (32, 0.1), (64, 0.15)]):
        params = {"filters": filters}
        known: dict[str, Any] = {"loss": loss, "accuracy": 0.5, "operations": filters}
        write_trial(run, bare_trial(number, params=params, **known))
    warm = warm_start(new, [run])
    found = {trial.params["filters"]: trial.place for trial in warm.earlier.trials}
    # By loss alone the cheapest would be the worst.
    assert sorted(found, key=lambda filters: found[filters]) == [32, 8, 16, 64]
    write_trial(run, bare_trial(4, params={"filters": 8}, loss=0.3, accuracy=0.5, operations=None))
    warm = warm_start(new, [run])
    assert "ranked without operations, which is not known of all of them" in warm.remarks[0]
    found = {trial.params["filters"]: trial.place for trial in warm.earlier.trials[:4]}
    assert sorted(found, key=lambda filters: found[filters])[0] == 32


@pytest.mark.parametrize(
    ("now", "before", "best", "ranked_by"),
    [
        ("val_loss", "val_auc", 0, None),
        ("val_auc", "val_auc", 1, None),
        ("val_auc", "package.module:cost", 1, "package.module:cost"),
        ("val_f1", "val_loss", 0, "val_loss"),
    ],
)
def test_trials_are_ranked_by_their_own_objective_if_the_new_one_is_not_known_of_them(
    tmp_path: Path, now: str, before: str, best: int, ranked_by: str | None
) -> None:
    def ranking_by(objective: str) -> Settings:
        new = settings(learning_rate=RATES)
        phase = new.phases[0].model_copy(update={"objective": objective})
        return new.model_copy(update={"phases": (phase,)})

    run = Directory(tmp_path)
    run.write(SETTINGS, dump_settings(ranking_by(before)).encode())
    for number, (loss, objective) in enumerate([(0.1, -7.0), (0.3, -5.0), (0.2, -6.0)]):
        rate = {"learning_rate": 10.0 ** -(number + 2)}
        write_trial(run, bare_trial(number, params=rate, loss=loss, objective=objective))
    warm = warm_start(ranking_by(now), [run])
    assert warm.settings.phases[0].points == ({"learning_rate": 10.0 ** -(best + 2)},)
    (remark,) = warm.remarks
    said = f"they are ranked by {ranked_by}, as {now} is not known of them"
    assert (said in remark) == (ranked_by is not None)
    assert ("ranked by" in remark) == (ranked_by is not None)


def test_a_run_without_a_finished_trial_is_refused(tmp_path: Path) -> None:
    run = earlier_run(tmp_path / "run", count=0, learning_rate=RATES)
    with pytest.raises(InputError, match="--warm-start must name a run with a finished trial"):
        warm_start(settings(learning_rate=RATES), [run])
