"""Searches whose networks have all validation images right."""

from pathlib import Path
from typing import Any

import pytest
from support.paths import CONF_DIR

from cnn import tune
from cnn.core.directory import Directory
from cnn.data.data_set import DataSet
from cnn.rundir.trials import read_trials

# One trial after another, the larger network first. Both have learned the greys at their only rung.
SEARCH: dict[str, Any] = {
    "strategy": "random",
    # A lower rate leaves a higher loss.
    "points": [
        {"filters": 8, "learning_rate": 1e-2},
        {"filters": 4, "learning_rate": 4e-3},
    ],
    "epochs": 11,
    "patience": 11,
    "halving": True,
    "grace_epochs": 10,
    "parallelism": 1,
    "seed": 1,
}
SPACE = {
    "conv_layers": 1,
    "filters": {"choices": [4, 8]},
    "learning_rate": {"low": 1e-3, "high": 1e-2},
    "batch_size": 8,
}


@pytest.mark.parametrize("choose", ["simplest", "best"])
def test_at_a_rung_the_cheaper_of_equal_networks_goes_on(
    spark: Any, greys: DataSet, tmp_path: Path, choose: str
) -> None:
    final = {"choose": choose, "epochs": 1, "attempts": 1, "suspects": "none"}
    run, config = tmp_path / "run", CONF_DIR / "test.toml"
    # The same rounding on every machine.
    model = {"precision": "float32"}
    tune(spark, greys, run, config=config, search=SEARCH, space=SPACE, final=final, model=model)
    trials = read_trials(Directory(run))
    assert [trial.accuracy for trial in trials] == [1, 1]
    operations = [trial.operations or 0 for trial in trials]
    assert operations == sorted(operations, reverse=True)
    losses = [trial.loss or 0 for trial in trials]
    assert losses == sorted(losses)
    expected = ["ok", "ok"] if choose == "simplest" else ["ok", "pruned"]
    assert [trial.status for trial in trials] == expected
