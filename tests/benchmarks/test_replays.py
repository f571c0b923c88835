"""Searches replayed on a table of trainings that nobody has made."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from drawn import discs, rings
from halving import Outcome, peers, replay
from proposals import Task, best_so_far
from saturation import ending
from schedulers import Asha, KeepBest, Pasha, PowerLaw, Scheduler, Seen, extrapolated
from surrogate import Surrogate
from tables import Table, Training, default_phase, read_table, write_table
from trainings import configurations

from cnn.settings.params import ModelParams

EARLY = 1 / 3


def training(number: int, errors: Sequence[float], **changes: Any) -> Training:
    """One of looks at 1/3 epoch and after each epoch; the test errors are twice as large."""
    known = Training(
        number=number,
        params={"batch_size": 32},
        epochs=[EARLY, *map(float, range(1, len(errors)))][: len(errors)],
        val_accuracy=[1 - error for error in errors],
        val_loss=[2 * error for error in errors],
        test_accuracy=[1 - 2 * error for error in errors],
        seconds=10.0,
        operations=1000,
        parameters=100,
        status="ok",
    )
    return known._replace(**changes)


def table(trainings: Sequence[Training]) -> Table:
    return Table("made up", train=2000, validation=500, test=2000, trainings=list(trainings))


def with_curves(count: int) -> Table:
    """Configurations of the default space, best with a learning rate of 1e-3 and four layers."""
    rng = np.random.default_rng(0)
    trainings = []
    for number, params in enumerate(configurations(default_phase(), count)):
        rate = np.log10(params.learning_rate / 1e-3)
        floor = 0.01 + 0.4 * rate**2 + 0.05 * (4 - params.conv_layers)
        curve = floor + 0.4 / (1 + np.arange(16)) + rng.normal(0, 0.003, 16)
        found = training(number, np.clip(curve, 0, 0.5))
        trainings.append(found._replace(params=params.model_dump(mode="json")))
    return table(trainings)


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "made-up.parquet"
    write_table(path, with_curves(120))
    return path


def test_a_table_is_small_and_read_as_it_was_written(recorded: Path) -> None:
    written, read = with_curves(120), read_table(recorded)
    assert recorded.stat().st_size < 100_000
    assert pq.read_schema(recorded).field("val_loss").type.value_type == "float"
    assert read[:4] == written[:4]
    for before, after in zip(written.trainings, read.trainings, strict=True):
        assert after.params == before.params
        assert after.epochs == pytest.approx(before.epochs)
        assert after.test_accuracy == pytest.approx(before.test_accuracy)
    diverged = training(7, [], status="diverged")
    write_table(recorded.with_name("one.parquet"), table([diverged]))
    assert read_table(recorded.with_name("one.parquet")) == table([diverged])


def test_patience_ends_a_training_where_it_would_have_ended() -> None:
    improving_late = training(0, [0.05, 0.2, 0.15, 0.16, 0.16, 0.17, 0.01])
    # The best weights are those of whole epochs, so that the early look is not the best.
    assert improving_late.best(3) == 2
    assert improving_late.best(0) == 0
    assert improving_late.with_patience(3).epochs[-1] == 5
    assert improving_late.with_patience(3).test_accuracy[-1] == pytest.approx(0.66)
    assert improving_late.with_patience(4) == improving_late
    assert improving_late.with_patience(None) == improving_late


def test_no_configuration_of_the_default_space_is_too_deep() -> None:
    assert default_phase().space["conv_layers"].high == 4
    drawn = configurations(default_phase(), 20)
    assert all(params.impossible(64) is None for params in drawn)
    assert drawn == configurations(default_phase(), 20)
    assert drawn != configurations(default_phase(seed=1), 20)


def test_drawn_images_are_balanced_and_follow_from_their_seed() -> None:
    for draw, classes in ((discs, 4), (rings, 6)):
        pixels, labels = draw(60, 1)
        assert pixels.shape == (60, 64, 64, 1)
        assert pixels.dtype == np.uint8
        assert set(labels) == set(range(classes))
        assert (draw(60, 1)[0] == pixels).all()
        assert (draw(60, 2)[0] != pixels).any()


# Four trials whose order changes after the first epoch; the first one is the best in the end.
CROSSING = table(
    [
        training(0, [0.50, 0.42, 0.20, 0.10, 0.05]),
        training(1, [0.45, 0.40, 0.30, 0.25, 0.20]),
        training(2, [0.60, 0.55, 0.50, 0.50, 0.50]),
        training(3, [0.70, 0.65, 0.60, 0.60, 0.60]),
    ]
)


def test_without_early_stopping_all_is_trained_and_the_best_wins() -> None:
    outcome = replay(CROSSING, 2, Scheduler())
    assert outcome == pytest.approx(Outcome(4 * 4 * 2000, 2 * 4 * 10, 0.95, 0.9))
    # A slot for each trial: as long as the longest.
    assert replay(CROSSING, 9, Scheduler()).seconds == pytest.approx(40)


def test_one_that_diverged_neither_wins_nor_stops_the_replay() -> None:
    lost = training(4, [0.0, 0.0], status="diverged")
    nothing = training(5, [], status="diverged")
    found = replay(table([nothing, lost, *CROSSING.trainings]), 2, Scheduler())
    assert found.accuracy == pytest.approx(0.95)
    assert found.image_epochs == pytest.approx((4 * 4 + 1) * 2000)


def test_after_one_epoch_only_the_best_go_on() -> None:
    one = replay(CROSSING, 2, KeepBest((1.0, 1)))
    assert one == pytest.approx(Outcome((4 + 3) * 2000, 2 * 10 + 30, 0.8, 0.6))
    two = replay(CROSSING, 2, KeepBest((1.0, 2)))
    assert two == pytest.approx(Outcome((4 + 6) * 2000, 2 * 10 + 30, 0.95, 0.9))
    # Four train one epoch, three of them a second one, and one of these two more.
    halved = replay(CROSSING, 2, KeepBest((1.0, 3), (2.0, 1)))
    assert halved == pytest.approx(Outcome((4 + 3 + 2) * 2000, 2 * 10 + 2 * 10 + 20, 0.95, 0.9))


def test_promotion_continues_the_best_and_trains_the_winner_to_its_end() -> None:
    # Of four at the first rung two are promoted, and of these one.
    found = replay(CROSSING, 1, Asha((1, 2), 2))
    assert found == pytest.approx(Outcome((4 + 2 + 2) * 2000, 80, 0.95, 0.9))
    # Three are promoted by no third of four trials but one; it is trained to its end although it
    # is alone at the second rung.
    found = replay(CROSSING, 1, Asha((1, 2), 3))
    assert found == pytest.approx(Outcome((4 + 3) * 2000, 70, 0.8, 0.6))


def test_the_top_rung_rises_only_if_the_order_changes() -> None:
    stable = [training(n, [0.5, 0.1 * n + 0.1, 0.1 * n, 0.1 * n, 0.0]) for n in range(4)]
    for trainings, rungs_in_use in ((stable, 1), (CROSSING.trainings, 2)):
        scheduler = Pasha((1, 2, 3), 2)
        replay(table(trainings), 1, scheduler)
        assert scheduler.open == rungs_in_use


def test_trials_whose_curves_cross_again_and_again_may_change_places() -> None:
    noisy = [
        training(0, [0.50, 0.40, 0.42, 0.40, 0.40]),
        training(1, [0.49, 0.41, 0.41, 0.41, 0.41]),
        training(2, [0.60, 0.55, 0.50, 0.50, 0.50]),
        training(3, [0.70, 0.65, 0.60, 0.60, 0.60]),
    ]
    scheduler = Pasha((1, 2, 3), 2)
    replay(table(noisy), 1, scheduler)
    assert scheduler.open == 1


def test_a_power_law_finds_the_floor_of_a_curve() -> None:
    curve = [(epoch, 0.1 + 0.3 * epoch**-0.5) for epoch in (EARLY, 1, 2, 3)]
    assert extrapolated(curve, 16) == pytest.approx(0.175, abs=1e-6)
    scheduler = PowerLaw(16)
    first = [Seen(0, epoch, (error, 1.0), (error, 1.0)) for epoch, error in curve]
    assert all(scheduler.go_on(seen) for seen in first)
    # Worse than the first one was then, but it will end below 0.25.
    steep = [(epoch, 0.1 + 0.4 / epoch) for epoch in (EARLY, 1, 2, 3)]
    assert all(scheduler.go_on(Seen(1, e, (error, 1.0), (error, 1.0))) for e, error in steep)
    flat = [Seen(2, epoch, (0.4, 1.0), (0.4, 1.0)) for epoch, _ in curve]
    assert [scheduler.go_on(seen) for seen in flat] == [True, True, False, False]


def test_every_peer_saves_epochs_and_ends(recorded: Path) -> None:
    pytest.importorskip("optuna")
    drawn = read_table(recorded).drawn(0, 32)
    found = {name: replay(drawn, 8, peer) for name, peer in peers(3, 15.0, 2.5).items()}
    none = found.pop("none")
    assert none.image_epochs == pytest.approx(32 * 15 * 2000)
    for name, outcome in found.items():
        assert outcome.image_epochs < 0.7 * none.image_epochs, name
        assert outcome.accuracy <= none.accuracy, name


def test_a_surrogate_answers_with_recorded_results(recorded: Path) -> None:
    known = read_table(recorded).with_patience()
    model = Surrogate(known)
    squared, ranks = model.trust()
    assert squared > 0.5
    assert ranks > 0.8
    params = ModelParams.model_validate(known.trainings[0].params)
    answers = [model.answer(params, noise).loss for noise in range(20)]
    errors = [1 - one.val_accuracy[one.best(len(one.epochs) - 1)] for one in known.trainings]
    assert len(set(answers)) > 1
    assert all(min(abs(answer - error) for error in errors) < 1e-6 for answer in answers)
    # The test error of a made-up training is twice the validation error.
    (tested,) = model.test_accuracies([params])
    assert 1 - tested == pytest.approx(2 * model.answer(params, None).loss, rel=0.05)


def test_a_search_of_a_table_is_told_accuracies_and_scored_on_the_test_set(recorded: Path) -> None:
    losses, tested = best_so_far(Task(str(recorded), "random", 8, 0))
    again = best_so_far(Task(str(recorded), "random", 8, 0))
    assert (np.array([losses, tested]) == again).all()
    assert (np.diff(losses) <= 0).all()
    assert 0 <= losses[-1] < losses[0] <= 1
    assert ((tested > 0) & (tested < 1)).all()


def test_a_saturated_search_ends_and_loses_what_came_later() -> None:
    equal = [training(n, [0.5, 0.002]) for n in range(59)]
    late = training(59, [0.5, 0.0])
    phase = default_phase(max_trials=60)
    found = ending(phase, table([*equal, late]))
    assert found.trials == 16
    assert found.seconds_saved == pytest.approx(44 / 60)
    assert found.accuracy_lost == pytest.approx(0.002)
    assert found.test_accuracy_lost == pytest.approx(0.004)
    rising = [training(n, [0.5, 0.5 - 0.008 * n]) for n in range(60)]
    assert ending(phase, table(rising)) == pytest.approx((60, 0, 0, 0))
