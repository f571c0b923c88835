"""What the report says of the choice of the winner, the parameters, the cost and the network."""

import re
from pathlib import Path
from typing import Any

import pytest
from support.made_up import epochs, result, run_directory, searched, settings_text, trial
from support.pages import Page, text_of

from cnn.report.page import render_report


def phase(**fields: Any) -> list[dict[str, Any]]:
    return [{"objective": "val_accuracy", **fields}]


def confirmation(selection_bias: float, **fields: Any) -> dict[str, Any]:
    candidates = [
        {"number": 7, "score": 0.94, "scores": [0.93, 0.91], "mean": 0.92, "spread": 0.0141},
        {"number": 3, "score": 0.93, "scores": [None, 0.9], "mean": 0.9, "spread": None},
    ]
    candidates = [{"repeats": [], **candidate} for candidate in candidates]
    made = {"objective": "val_accuracy", "candidates": candidates, "selection_bias": selection_bias}
    return {"confirmation": made | fields}


def test_the_selection_bias_of_the_best_is_said(tmp_path: Path) -> None:
    text = text_of(tmp_path, [trial(7)], phases=phase(**confirmation(0.02)))
    assert "trial of the search, 7, scored 2 points worse on average with other seeds" in text
    assert "7 94.0 % 93.0 %, 91.0 % 92.0 % 1.4 points" in text
    assert "3 93.0 % –, 90.0 % 90.0 % –" in text
    assert "chosen by its mean over other seeds" in text


def test_a_choice_in_which_one_has_no_mean_is_not_called_confirmed(tmp_path: Path) -> None:
    half = confirmation(0.02)
    half["confirmation"]["candidates"][1]["mean"] = None
    text = text_of(tmp_path, phases=phase(**half))
    assert "chosen by its mean over other seeds" not in text
    assert "biased upwards by the selection" in text


@pytest.mark.parametrize(("selection_bias", "said"), [(-0.01, "1 point better"), (0.0, "the same")])
def test_a_best_without_selection_bias_is_said(
    tmp_path: Path, selection_bias: float, said: str
) -> None:
    text = text_of(tmp_path, [trial(7)], phases=phase(**confirmation(selection_bias)))
    assert f"scored {said} on average with other seeds: no sign of selection bias" in text


@pytest.mark.parametrize(
    ("objective", "name"), [("val_loss", "loss"), ("val_f1", "F1"), ("a.b:cost", "cost")]
)
def test_what_is_no_share_of_images_is_no_percentage(
    tmp_path: Path, objective: str, name: str
) -> None:
    found = confirmation(0.25, objective=objective)
    text = text_of(tmp_path, [trial(7)], phases=phase(objective=objective, **found))
    assert f"search by validation {name}" in text
    assert "scored 0.25 worse on average" in text
    assert f"validation {name}, in the search" in text
    assert "7 0.94 0.93, 0.91 0.92 0.0141" in text


def test_without_repetitions_the_best_of_many_is_called_biased(tmp_path: Path) -> None:
    text = text_of(tmp_path)
    assert "score of the winner is the best of 8 and so biased upwards by the selection" in text
    assert "The validation score of the best trial is the best of 8 and so biased upwards" in text


def test_a_simpler_network_that_is_as_good_is_named(tmp_path: Path) -> None:
    found = {"number": 2, "params": {"filters": 8}, "accuracy": 0.93, "parameters": 1234}
    text = text_of(tmp_path, [trial(7)], phases=phase(simplest={**found, "standard_error": 0.02}))
    assert "A simpler network may do: trial 2 with 1,234 parameters instead of 53,858" in text
    assert "reached 93.0 %, which is as good within one standard error (2 points)" in text
    assert "Its parameters: filters 8." in text


def test_no_simpler_network_as_good_is_said(tmp_path: Path) -> None:
    found = {"number": 7, "params": {}, "accuracy": 0.9, "parameters": 1, "standard_error": 0.02}
    text = text_of(tmp_path, [trial(7)], phases=phase(simplest=found))
    assert "No simpler network was as good within one standard error" in text


def test_the_simplest_that_was_trained_is_named(tmp_path: Path) -> None:
    found = {"number": 7, "params": {}, "accuracy": 0.93, "parameters": 1, "standard_error": None}
    costs = {"operations": 1_234_000, "operations_of_best": 5_678_000, "margin": 0.02}
    chosen = phase(best=2, simplest={**found, **costs})
    text = text_of(tmp_path, [trial(2, accuracy=0.94), trial(7)], phases=chosen)
    assert "Trial 7 reached 93.0 %, which is as good within the margin (0.02)" in text
    assert "with 1.234 million operations for an image instead of 5.678 million." in text
    assert "It was therefore trained as the winner" in text


def test_cross_validation_is_said(tmp_path: Path) -> None:
    text = text_of(tmp_path, [trial(7, folds=5)])
    assert "Cross-validated: each trial trained 5 networks" in text


def test_a_run_of_one_trial_has_its_report(tmp_path: Path) -> None:
    text = text_of(tmp_path, [trial(7)])
    assert "Only one trial has a score" in text
    assert "it takes at least 8 trials with a score, and there are 1" in text


@pytest.mark.parametrize(
    ("right", "count", "said"),
    [
        (18, 24, "± about 16 points: 24 test images are few."),
        (190, 200, "cannot distinguish networks that are closer than that"),
        (9900, 10000, "± about 0.2 points: 10,000 test images are enough"),
    ],
)
def test_how_wide_the_interval_is_is_said_in_words(
    tmp_path: Path, right: int, count: int, said: str
) -> None:
    test: dict[str, Any] = {
        "accuracy": right / count,
        "count": count,
        "interval": None,
        "confusion": [],
    }
    assert said in text_of(tmp_path, [trial(7)], test=test)


@pytest.mark.parametrize(
    ("validation", "said"),
    [
        (0.99, ", within the confidence interval of the test"),
        (1.0, ", above the confidence interval of the test"),
        (0.9, ", below the confidence interval of the test"),
    ],
)
def test_test_and_validation_are_compared(tmp_path: Path, validation: float, said: str) -> None:
    assert said in text_of(tmp_path, [trial(7)], validation={"accuracy": validation})


def test_the_network_is_compared_with_always_naming_the_larger_class(tmp_path: Path) -> None:
    text = text_of(tmp_path, [trial(7)], test={"roc_auc": 0.99999})
    assert "accuracy 99.2 % 50.0 % 95 % interval 95.4 % to 99.9 % –" in text
    assert "balanced accuracy 99.2 % 50.0 % ROC AUC 0.9999 0.5" in text
    assert "recall, faces 98.3 % 100.0 % precision, faces 100.0 % 50.0 %" in text


def test_many_classes_have_no_matrix_but_each_its_recall(tmp_path: Path) -> None:
    names = [f"class-{label}" for label in range(30)]
    matrix = [[5 if row == column else 0 for column in range(30)] for row in range(30)]
    matrix[3][4], matrix[3][3] = 1, 4
    text = text_of(
        tmp_path, [trial(7)], data={"classes": names, "counts": {}}, test={"confusion": matrix}
    )
    assert "class-3 5 80.0 % 100.0 % class-0 5 100.0 % 100.0 %" in text
    assert "true class predicted images share class-3 class-4 1 20.0 %" in text
    assert "predicted class-3" not in text
    assert "most likely" not in text


def test_another_networks_function_is_named(tmp_path: Path) -> None:
    trials = [trial(n, params={"depth": n, "dropout": 0.25}) for n in (6, 7)]
    run = run_directory(tmp_path, result(params={"depth": 7}), trials)
    space = {"depth": {"low": 1, "high": 9}, "dropout": 0.25}
    run.write(
        "settings.toml", settings_text(model={"builder": "my.nets:wide"}, space=space).encode()
    )
    text = Page(render_report(run)).text
    assert "depth 7" in text
    assert "built by my.nets:wide" in text
    assert "The same in all: dropout 0.25." in text


def test_the_validation_score_has_its_interval(tmp_path: Path) -> None:
    trials = [trial(7, accuracy=0.9, validation_images=80), trial(6, accuracy=0.85)]
    text = text_of(tmp_path, trials, winner={"accuracy": 0.9})
    assert "validation, in the search 90.0 % 81.5 % to 94.8 %" in text
    assert "validation, final training 95.0 % 88.4 % to 97.8 %" in text
    assert "7 winner 90.0 % 81.5–94.8 % 0.06" in text
    assert "6 ok 85.0 % – 0.08" in text
    assert (
        "Trial 7 classified 90.0 % of 80 validation images correctly: 95 % confidence interval 81.5"
        in text
    )
    assert "but not for the selection of the best trial" in text


def test_balanced_accuracy_has_no_interval_and_that_is_said(tmp_path: Path) -> None:
    trials = [trial(7, accuracy=0.9, balanced_accuracy=0.8, validation_images=80)]
    text = text_of(tmp_path, trials, phases=phase(objective="val_balanced_accuracy"))
    assert "The validation balanced accuracy, by which it was chosen, has no such interval" in text
    assert "7 winner 90.0 % 81.5–94.8 % 80.0 % 0.06" in text


def test_the_layers_are_drawn_with_their_shapes(tmp_path: Path) -> None:
    layers = [
        {"name": "pixels", "kind": "InputLayer", "shape": [64, 64, 1], "parameters": 0},
        {"name": "c", "kind": "Conv2D", "shape": [None, 62, 16], "parameters": 160},
        {"name": "probabilities", "kind": "Dense", "shape": [2], "parameters": 34},
        {"name": "n", "kind": "Custom", "shape": [], "parameters": 0},
    ]
    html = render_report(run_directory(tmp_path, result(layers=layers), [trial(7)]))
    text = Page(html).text
    assert "InputLayer 64 × 64 × 1 Conv2D ? × 62 × 16 160 Dense 2 34 Custom –" in text
    assert "<details><summary>Keras" in html


def test_names_that_no_page_can_hold_are_replaced(tmp_path: Path) -> None:
    name = "a\x00\x1b</text>--><b>"
    trials = [trial(n, params={name: f"{name}{n % 3}", "font-family: x": n}) for n in range(9)]
    # Half of a surrogate pair is valid in JSON, and in no file of text.
    params = {f"{name}\ud800": name}
    html = render_report(run_directory(tmp_path, result(params=params), trials))
    assert "\ufffd" in html.encode().decode()
    assert "--><b>" not in html
    for tag in ("svg", "text"):
        assert len(re.findall(f"<{tag}[ >]", html)) == html.count(f"</{tag}>"), tag


def test_a_page_of_50_trials_is_below_1_mb(tmp_path: Path) -> None:
    trials = [t.model_copy(update={"epochs": epochs(30, 0.9)}) for t in searched(50)]
    assert len(render_report(run_directory(tmp_path, result(), trials))) < 1_000_000


def test_class_weights_are_those_of_the_settings(tmp_path: Path) -> None:
    run = run_directory(tmp_path, result(), [trial(7)])
    assert "class weights none" in Page(render_report(run)).text
    run.write("settings.toml", settings_text(model={"class_weights": "balanced"}).encode())
    assert "class weights balanced" in Page(render_report(run)).text


def test_repetitions_are_marked_and_left_out_of_the_plots(tmp_path: Path) -> None:
    trials = [trial(7), trial(8, repeats=7, accuracy=0.5)]
    text = text_of(tmp_path, trials)
    assert "1 repetition with other seeds, not in these plots" in text
    assert "repeats 7" in text
    assert "Only one trial has a score" in text
