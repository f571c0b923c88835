"""The HTML report, rendered from run directories as jobs/tune.py writes them."""

import re
from pathlib import Path
from typing import Any

import pytest
from support.made_up import ESCAPED, HOSTILE, epochs, result, run_directory, trial
from support.pages import Page, command, refused

from cnn.report.page import render_report, write_report
from cnn.rundir.trials import EpochResult


def test_a_whole_run_shows_what_won_and_how_good_it_is(tmp_path: Path) -> None:
    page = Page(render_report(run_directory(tmp_path, result())))
    for expected in (
        "99.2 %",
        "119 of 120 test images right; the true accuracy is likely between 95.4 % and 99.9 %",
        "Better than always predicting “faces”, the larger class in training, which would get 50.0",
        "trial 7 of phase search",
        "learning rate 0.00123",
        "dropout –",
        "batch norm yes",
        "search 2 h 01 min",
        "Faces and comics, by A. Painter. Licence: CC-BY 4.0",
        "faces 59 98.3 % 1 1.7 % 98.3 % 100.0 %",
        "8 trials: 8 ok",
        "53,858 parameters",
        "convolution_1",
        "pixels 128 × 128",
        "2,640",
        "ab12cd",
        "jobs/tune.py --data 'my data'",
        "default.toml + sample.toml",
        "4711",
        "2026-11-23 08:00 UTC",
        "max_trials = 20",
        "the 4,000 images asked for were 480: all are used",
        "best epoch, 5",
    ):
        assert expected in page.text, expected
    assert set(page.labels) == {
        "accuracy by epoch",
        "loss by epoch",
        "best validation accuracy over time",
        "validation accuracy by epoch",
        "parameters and validation accuracy of every trial",
        "importance of each parameter",
        "validation accuracy by one parameter",
        "trials on their slots over time",
    }
    assert "No better than" not in page.text


def test_epochs_that_were_stretched_are_said(tmp_path: Path) -> None:
    trials = [trial(number, max_epochs=6 * number) for number in range(1, 4)]
    page = Page(render_report(run_directory(tmp_path, result(), trials)))
    assert "at most 6 epochs, 18 if epochs are short" in page.text


def test_the_page_loads_nothing_and_its_ids_are_unique(tmp_path: Path) -> None:
    html = render_report(run_directory(tmp_path, result()))
    page = Page(html)
    assert not {"link", "img", "iframe", "object", "image"} & set(page.tags)
    assert "default-src 'none'" in html
    assert all(reference.startswith("#") for reference in page.references)
    assert {reference[1:] for reference in page.references} <= set(page.ids)
    assert len(set(page.ids)) == len(page.ids)
    assert not re.search(r"@import|url\((?!#)", html)


def test_the_same_run_gives_the_same_bytes(tmp_path: Path) -> None:
    run = run_directory(tmp_path, result())
    assert render_report(run) == render_report(run)


def test_plots_take_their_colours_from_the_page(tmp_path: Path) -> None:
    plots = re.findall(r"<svg.*?</svg>", render_report(run_directory(tmp_path, result())), re.S)
    assert len(plots) > 5
    for svg in plots:
        assert not re.search(r"(?:fill|stroke): #", svg)
        assert "currentColor" in svg
        assert "font-family: inherit" in svg


def test_hostile_text_is_escaped_wherever_it_stands(tmp_path: Path) -> None:
    hostile = [
        trial(0, params={HOSTILE: HOSTILE}),
        trial(1, "crashed", params={HOSTILE: [HOSTILE]}, error=HOSTILE),
    ]
    content = result(
        params={HOSTILE: HOSTILE},
        winner={"number": 0, "phase": HOSTILE},
        phases=[{"strategy": HOSTILE, "best": 0}],
        baseline={"class": HOSTILE},
        versions={HOSTILE: HOSTILE},
        seconds={HOSTILE: 1.0},
        architecture=HOSTILE,
        data={
            "classes": [HOSTILE, '" onload="alert(1)'],
            "counts": {HOSTILE: {HOSTILE: 1}},
            "source": dict.fromkeys(("name", "licence", "attribution", "url"), HOSTILE),
        },
        command=[HOSTILE],
        configs=[HOSTILE],
        notes=[HOSTILE],
    )
    run = run_directory(tmp_path, content, hostile)
    run.write("settings.toml", run.read("settings.toml") + f"# {HOSTILE}\n".encode())
    html = render_report(run)
    assert HOSTILE not in html
    assert html.count(ESCAPED) > 20
    assert Page(html).tags.count("script") == 1
    assert 'onload="' not in html


def test_scores_that_are_missing_are_dashes(tmp_path: Path) -> None:
    scores = {"loss": None, "balanced_accuracy": None, "roc_auc": None}
    page = Page(render_report(run_directory(tmp_path, result(test=scores), [])))
    assert "test, balanced accuracy – test, ROC AUC – test loss –" in page.text
    assert "None" not in page.text
    assert "nan" not in page.text


def test_a_run_whose_trials_are_gone_has_its_report(tmp_path: Path) -> None:
    page = Page(render_report(run_directory(tmp_path, result(), [])))
    assert "119 of 120 test images right" in page.text
    assert "0 trials" in page.text


def test_an_accuracy_below_all_is_never_rounded_to_all(tmp_path: Path) -> None:
    test: dict[str, Any] = {
        "accuracy": 9999 / 10000,
        "count": 10000,
        "interval": None,
        "confusion": [],
    }
    page = Page(render_report(run_directory(tmp_path, result(test=test))))
    assert "99.99 %" in page.text
    assert "9,999 of 10,000 test images right" in page.text


@pytest.mark.parametrize(("baseline", "said"), [(0.9542, False), (0.9543, True), (0.999, True)])
def test_no_better_than_the_baseline_is_said_in_words(
    tmp_path: Path, baseline: float, said: bool
) -> None:
    run = run_directory(tmp_path, result(baseline={"accuracy": baseline}), [])
    text = Page(render_report(run)).text
    assert ("No better than always predicting the larger class." in text) is said
    assert ("Better than always predicting" in text) is not said


def test_final_training_on_all_images_shows_the_winners_own_curve(tmp_path: Path) -> None:
    final = {"data": "all", "epochs": [e.model_dump() for e in epochs(4, 0.9, validated=False)]}
    page = Page(render_report(run_directory(tmp_path, result(final={**final, "cooldown": 0.25}))))
    assert "Over the last 25 % of the steps the learning rate fell" in page.text
    assert "own trial 7 in the search, with validation" in page.text
    assert "validation, final training" not in page.text
    assert page.labels.count("loss by epoch") == 2


def test_more_attempts_than_one_are_told(tmp_path: Path) -> None:
    attempts = [{"seed": seed, "accuracy": 0.5, "accepted": False} for seed in (1, 2)]
    page = Page(render_report(run_directory(tmp_path, result(final={"attempts": attempts}), [])))
    assert "It took 2 attempts" in page.text
    assert "the best one is kept" in page.text


def test_every_phase_has_its_plots_and_the_winner_comes_first(tmp_path: Path) -> None:
    phases = [{"name": "layers", "best": 3, "objective": "val_loss"}, {"name": "rate", "best": 5}]
    trials = [trial(number, phase="layers" if number < 4 else "rate") for number in range(6)]
    trials += [trial(6, "cancelled", phase="late")]
    content = result(phases=phases, winner={"number": 5, "phase": "rate"})
    html = render_report(run_directory(tmp_path, content, trials))
    page = Page(html)
    for plot in (
        "best validation accuracy over time",
        "validation accuracy by epoch",
        "parameters and validation accuracy of every trial",
    ):
        assert page.labels.count(plot) == 2, plot
    assert "Phase late 1 cancelled · TPE search by validation accuracy · at most" in page.text
    assert "No trial has a validation accuracy." in page.text
    rows = re.findall(r"<tr[^>]*>\s*<td>(\d+)</td>", html)
    assert rows == ["5", "4", "6", "3", "2", "1", "0"]
    assert re.search(r'<tr class="winner">\s*<td>5</td>', html)
    assert page.text.count("best of phase") == 1


def test_failures_are_told_once_each_kind(tmp_path: Path) -> None:
    traceback = 'Traceback (most recent call last):\n  File "x.py"\nValueError: no such layer'
    trials = [
        trial(0),
        trial(1, "invalid", error="layer 5 of 6 is left with 2x2 pixels"),
        trial(2, "crashed", error=traceback),
        trial(3, "invalid", error="layer 5 of 6 is left with 2x2 pixels"),
        trial(4, "out_of_memory", error="the GPU has 4 GB\nit needs 5"),
        trial(5, "lost"),
    ]
    page = Page(render_report(run_directory(tmp_path, result(), trials)))
    assert "invalid trials 1, 3: layer 5 of 6 is left with 2x2 pixels" in page.text
    assert "crashed trial 2: ValueError: no such layer Traceback" in page.text
    assert "out of memory trial 4: it needs 5 the GPU has 4 GB" in page.text
    assert "1 ok, 2 invalid, 1 out of memory, 1 crashed, 1 lost" in page.text


def test_infinite_and_missing_values_are_drawn_as_gaps(tmp_path: Path) -> None:
    broken = EpochResult(epoch=2, loss=None, accuracy=float("nan"), val_loss=None, seconds=1)
    odd = trial(1, "diverged", loss=float("inf"), accuracy=0.4, epochs=(*epochs(1, 0.5), broken))
    final = {"epochs": [epochs(1, 0.5)[0].model_dump(), broken.model_dump() | {"accuracy": None}]}
    html = render_report(run_directory(tmp_path, result(final=final), [trial(0), odd]))
    assert "accuracy by epoch" in Page(html).labels
    assert not re.search(r'[ "](nan|inf)[ "]', html)


def test_the_report_is_written_into_the_run(tmp_path: Path) -> None:
    run = run_directory(tmp_path, result())
    run.write("report.html", b"an older one")
    assert write_report(run) == f"{run.uri}/report.html"
    written = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert written.startswith("<!doctype html>")
    assert written.rstrip().endswith("</html>")
    assert "Better than always predicting “faces”" in Page(written).text


def test_the_command_makes_the_report_again(tmp_path: Path) -> None:
    run = run_directory(tmp_path, result())
    done = command(run.uri)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{run.uri}/report.html\n"
    assert (tmp_path / "run" / "report.html").is_file()


def test_no_folder_or_no_argument_is_one_line_and_exit_code_2(tmp_path: Path) -> None:
    assert f"but {tmp_path}/none is not a folder" in refused(tmp_path / "none")
    assert f"but {tmp_path} has no result.json" in refused(tmp_path)
    assert "RUN" in refused()
