"""Settings from TOML: precedence, phases, and one clear line for what is wrong."""

from pathlib import Path
from typing import Any

import pytest
from support.paths import CONF_DIR

from cnn.core.errors import InputError
from cnn.settings.dimension import Dimension
from cnn.settings.final import FinalSettings
from cnn.settings.params import ModelParams
from cnn.settings.schema import PhaseSettings
from cnn.settings.toml import dump_settings, load_settings, read_settings


def toml(tmp_path: Path, text: str, name: str = "overlay.toml") -> Path:
    path = tmp_path / name
    path.write_text(text)
    return path


def test_every_overlay_that_is_shipped_can_be_used_and_written_again() -> None:
    paths = sorted(CONF_DIR.glob("*.toml"))
    assert {"default.toml", "test.toml", "report.toml"} <= {path.name for path in paths}
    for path in paths:
        overlays = [] if path.name == "default.toml" else [path]
        settings = load_settings(overlays)
        assert read_settings(dump_settings(settings)) == settings


def test_few_images_stretch_a_training_and_put_its_first_rung_off() -> None:
    search = PhaseSettings(name="p", space={}, epochs=15, patience=5, min_steps=80)
    # 64 images in batches of 32 are two steps an epoch.
    assert search.schedule(64, 32) == (40, 14)
    assert search.first_rung(64, 32) == 40
    assert search.schedule(3200, 32) == (15, 5)
    assert search.first_rung(3200, 32) == 1
    search = PhaseSettings(name="p", space={}, min_steps=0, grace_epochs=0.5)
    assert search.first_rung(64, 32) == 0.5


@pytest.mark.parametrize("batch_size", [{"choices": [8, 32, 16]}, {"low": 8, "high": 32}])
def test_trials_of_all_batch_sizes_are_compared_after_as_many_epochs(batch_size: Any) -> None:
    space = {"batch_size": Dimension(**batch_size)}
    search = PhaseSettings(name="p", space=space, epochs=100, min_steps=80)
    assert search.first_rung(64, 8) == search.first_rung(64, 32) == 40


def test_precedence_is_default_overlays_flags_assignments(tmp_path: Path) -> None:
    first = toml(tmp_path, "[search]\nepochs = 31\nmax_trials = 31\nseed = 31", "a.toml")
    second = toml(tmp_path, "[search]\nmax_trials = 32\nseed = 32", "b.toml")
    settings = load_settings(
        [first, second],
        flags={"seed": 33, "max_trials": 33, "timeout": None},
        assignments=["search.max_trials=34"],
    )
    phase = settings.phases[0]
    assert (phase.epochs, phase.seed, phase.max_trials) == (31, 33, 34)
    assert phase.timeout is None


def test_a_dimension_is_replaced_whole(tmp_path: Path) -> None:
    overlay = toml(tmp_path, "[space]\nfilters = {low = 8, high = 16}\n")
    filters = load_settings([overlay]).phases[0].space["filters"]
    assert (filters.choices, filters.low, filters.high) == (None, 8, 16)


def test_the_report_is_three_phases_as_it_states_them() -> None:
    layers, dropout, epochs = load_settings([CONF_DIR / "report.toml"]).phases
    assert layers.strategy == dropout.strategy == "grid"
    assert (layers.epochs, layers.train_images) == (5, 4000)
    assert layers.space["filters"].choices == (32, 64, 128)
    assert layers.space["dense_units"].same_as == "filters"
    assert dropout.fix == "layers"
    assert dropout.space.keys() == {"dropout", "learning_rate"}
    assert dropout.subset_seed != layers.subset_seed
    assert (epochs.fix, epochs.epochs, epochs.train_images) == ("dropout", 10, None)


def test_an_assignment_reaches_into_a_phase_and_a_space() -> None:
    settings = load_settings(
        [CONF_DIR / "report.toml"],
        assignments=["phases.0.epochs=1", "phases.1.space.dropout.choices=[0.1]"],
    )
    assert settings.phases[0].epochs == 1
    assert settings.phases[1].space["dropout"].choices == (0.1,)


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("search.max_trials=0", "search.max_trials must be greater than or equal to 1, but got 0"),
        ("search.epochs=many", "search.epochs must be a valid integer, but got 'many'"),
        ("search.saturation=maybe", "search.saturation must be true or false, but got 'maybe'"),
        ("search.timeout=-1", "search.timeout must be greater than 0, but got -1"),
        (
            "space.filters.choices=[0]",
            "space.filters must be greater than or equal to 1, but got 0",
        ),
        (
            "search.strategy=luck",
            "search.strategy must be 'grid', 'random', 'tpe', 'optuna-tpe', 'optuna-gp' or 'cmaes'",
        ),
        (
            "search.objective=val_acuracy",
            "search.objective: an objective must be one of val_accuracy, val_balanced_accuracy, "
            "val_f1, val_auc, val_loss, val_log_loss, or a function, package.module:function, but "
            "got 'val_acuracy'; did you mean val_accuracy?",
        ),
        (
            "search.objective=my.scores.cost",
            "search.objective: a function must be package.module:function, but got "
            "'my.scores.cost'",
        ),
        ("search.objective=my.scores:cost()", "must be package.module:function, but got"),
        ("search.objective=3", "search.objective must be a valid string, but got 3"),
        ("search.epoch=3", "did you mean epochs? The settings are strategy, max_trials, "),
        ("search.max_trails=3", "but got 'max_trails'; did you mean max_trials? The settings are"),
        ("final.epoch=3", "did you mean epochs? The settings are choose, margin, data, epochs, "),
        ("final.patience=3", "got 'patience'; the settings are choose, margin, data, epochs, "),
        (
            "model.biulder='a:b'",
            "did you mean builder? The settings are builder, class_weights, precision",
        ),
        ("search.confirm={tops = 2}", "did you mean top? The settings are top, seeds"),
        (
            "serach.epochs=3",
            "did you mean search? The settings are search, space, final, model, features, cache",
        ),
        ("epochs=3", "did you mean search.epochs?"),
        ("dropout=0.5", "did you mean space.dropout?"),
        (
            "space.lr=3",
            "space.lr must be a parameter of the network, but got 'lr'; did you mean "
            "learning_rate? The parameters are conv_layers, filters, dense_units, dropout, "
            "batch_norm, pooling, learning_rate, batch_size, augment",
        ),
        ("space.depth=3", "did you mean conv_layers?"),
        ("space.layers=3", "did you mean conv_layers?"),
        ("space.units=3", "did you mean dense_units?"),
        ("space.bs=3", "did you mean batch_size?"),
        ("space.augmentation=true", "did you mean augment?"),
        ("space.momentum=3", "but got 'momentum'; the parameters are conv_layers, "),
        ("search.validation_folds=[10]", "but got 10"),
        ("search.validation_folds=[1, 1]", "must be distinct"),
        ("space.filter=3", "did you mean filters?"),
        ("space.dropout=1.5", "dropout must be less than 1, but got 1.5"),
        ("space.filters={low = 9, high = 3}", "low must be below high, but got 9 and 3"),
        ("space.filters={low = 9}", "must have either choices, or low and high, or same_as"),
        ("space.dropout={low = 0.0, high = 0.5, log = true}", "low must be above 0"),
        ("space.dense_units={same_as = 'units'}", "same_as must name a parameter"),
        ("search.strategy='grid'", "must have choices or steps in a grid search"),
        ("final.data=most", "final.data must be 'train' or 'all', but got 'most'"),
        ("model.builder=build", "model.builder"),
        ("trials=3", "trials must be a known setting"),
        ("search", "--set must be KEY=VALUE, but got 'search'"),
        ("phases.0.epochs=1", "phases"),
    ],
)
def test_a_wrong_setting_is_one_line_with_key_rule_and_value(assignment: str, message: str) -> None:
    with pytest.raises(InputError) as raised:
        load_settings(assignments=[assignment])
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)
    assert raised.value.exit_code == 2


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ("val_log_loss", "val_loss"),
        ("val_auc", "val_auc"),
        ("my.scores:cost", "my.scores:cost"),
    ],
)
def test_an_objective_has_one_name_in_all_files(given: str, found: str) -> None:
    settings = load_settings(assignments=[f"search.objective={given}"])
    assert settings.phases[0].objective == found
    assert f'objective = "{found}"' in dump_settings(settings)


OWN = "model.builder=my.net:build"


@pytest.mark.parametrize(
    ("name", "spaces"),
    [
        ("default.toml", [{"learning_rate", "batch_size"}]),
        ("sample.toml", [{"learning_rate", "batch_size"}]),
        ("small.toml", [{"learning_rate", "batch_size", "augment"}]),
        ("report.toml", [{"learning_rate", "batch_size", "augment"}, {"learning_rate"}, set()]),
    ],
)
def test_another_network_has_of_our_spaces_what_concerns_its_training(
    name: str, spaces: list[set[str]]
) -> None:
    settings = load_settings([CONF_DIR / name], assignments=[OWN])
    assert [set(phase.space) for phase in settings.phases] == spaces
    assert read_settings(dump_settings(settings)) == settings


def test_another_network_has_all_that_its_user_says(tmp_path: Path) -> None:
    own = toml(
        tmp_path,
        '[model]\nbuilder = "my.net:build"\n'
        '[space]\nalpha = {low = 0.3, high = 1.0}\nfilters = {choices = ["small", "large"]}\n',
    )
    for settings in (
        load_settings([own]),
        load_settings([own, CONF_DIR / "random-layers.toml"]),
        load_settings(tables={"model": {"builder": "my.net:build"}}, assignments=ALPHA),
    ):
        space = settings.phases[0].space
        assert {"alpha", "filters", "learning_rate", "batch_size"} <= set(space)
        assert "dense_units" not in space
        assert space["filters"].choices == ("small", "large")


ALPHA = ["space.alpha={low = 0.3, high = 1.0}", 'space.filters={choices = ["small", "large"]}']


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("space.learning_rate=-1", "learning_rate must be greater than 0, but got -1"),
        ("space.augment=3", "augment must be true or false"),
        ("space.copy=3", "space.copy must have another name, because params.copy is a method"),
    ],
)
def test_what_every_training_has_is_checked_for_another_network_too(
    assignment: str, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        load_settings(assignments=[OWN, assignment])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[search", "--config must name a TOML file"),
        ('[[phases]]\nname = "a"\n[[phases]]\nname = "a"', "must have different names"),
        ('[[phases]]\nname = "a"\nfix = "b"', "fix must name an earlier phase, but got 'b'"),
        ('[[phases]]\nname = "a"\ntimeout = 3\n[[phases]]\nname = "b"', "timeout must be set in"),
        ('[[phases]]\nname = "a b"', "phases.0.name"),
        (
            '[[phases]]\nname = "a"\n[[phases]]\nname = "b"\nstart = "a"\n'
            'objective = "val_f1"\nspace = {}',
            "must have that phase's objective, val_accuracy, because their trials are compared",
        ),
        ("phases = 3", "phases must be a list of tables, but got 3"),
    ],
)
def test_a_wrong_overlay_is_said(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InputError) as raised:
        load_settings([toml(tmp_path, text)])
    assert message in str(raised.value)


@pytest.mark.parametrize(
    ("params", "size", "reason"),
    [
        (ModelParams(conv_layers=5), 128, None),
        (ModelParams(conv_layers=6), 128, "layer 6 of 6 receives only 2x2 pixels"),
        (ModelParams(conv_layers=1), 3, "layer 1 of 1 receives only 3x3 pixels"),
        (ModelParams(conv_layers=2, filters=(8, 8)), 32, None),
        (ModelParams(conv_layers=2, filters=(8,)), 32, "filters must have one entry for each"),
    ],
)
def test_impossible_networks_are_known_from_their_geometry(
    params: ModelParams, size: int, reason: str | None
) -> None:
    found = params.impossible(size)
    assert found == reason or (reason and found and found.startswith(reason))


@pytest.mark.parametrize(
    ("final", "batch_size", "learning_rate"),
    [
        ({"workers": 4}, 32, 0.001),
        ({"batch": "times_workers"}, 32, 0.001),
        ({"workers": 4, "batch": "times_workers"}, 128, 0.004),
        ({"workers": 4, "batch": "times_workers", "learning_rate": "sqrt"}, 128, 0.002),
        ({"workers": 4, "batch": "times_workers", "learning_rate": "own"}, 128, 0.001),
    ],
)
def test_the_learning_rate_follows_the_batch_of_several_workers(
    final: dict[str, Any], batch_size: int, learning_rate: float
) -> None:
    winner = ModelParams(batch_size=32, learning_rate=0.001)
    found = FinalSettings.model_validate(final).params(winner)
    assert found.batch_size == batch_size
    assert found.learning_rate == pytest.approx(learning_rate)
