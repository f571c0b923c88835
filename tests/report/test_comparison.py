"""python -m cnn.report RUN RUN ...: several runs on one page."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.made_up import (
    ESCAPED,
    HOSTILE,
    result,
    run_directory,
    settings_text,
    trial,
    write_answers,
)
from support.pages import Page, command, refused

from cnn.core.directory import Directory
from cnn.report.comparison import render_comparison
from cnn.report.paired import holm, mcnemar
from cnn.rundir.finished import read_run


def page_of(*runs: Directory) -> str:
    return render_comparison([read_run(run) for run in runs])


def run_named(folder: Path, name: str, **changes: Any) -> Directory:
    trials = [trial(number, train_images=100) for number in range(3)]
    return run_directory(folder / name, result(**changes), trials)


def test_runs_stand_side_by_side(tmp_path: Path) -> None:
    first = run_named(tmp_path, "a", test={"roc_auc": 0.9876})
    second = run_named(tmp_path, "b", params={"conv_layers": 2}, parameters=1000)
    html = page_of(first, second)
    page = Page(html)
    for expected in (
        "2 runs compared",
        "a/run 99.2 % 95.4 % to 99.9 % 0.9876 53,858 3 ok 2 h 01 min 2 h 01 min",
        "b/run 99.2 % 95.4 % to 99.9 % – 1,000 3 ok",
        "1,800",
        "53,858",
        "1,000",
        "ab12cd Faces and comics",
        "conv layers 2",
    ):
        assert expected in page.text, expected
    assert "Not the same data" not in page.text
    assert page.labels == [
        "test accuracies with their confidence intervals",
        "best validation accuracy over time",
    ]
    assert html == page_of(first, second)


def test_other_data_is_a_warning(tmp_path: Path) -> None:
    other = run_named(tmp_path, "b", data={"fingerprint": "ffff"})
    assert "Not the same data." in Page(page_of(run_named(tmp_path, "a"), other)).text


def test_runs_without_a_curve_are_named_with_the_reason(tmp_path: Path) -> None:
    stopped = trial(0, "pruned", rung=0, accuracy=0.7, loss=0.3)
    of = {"none": [], "crashed": [trial(0, "crashed", error="no")], "stopped": [stopped]}
    runs = [run_directory(tmp_path / name, result(), trials) for name, trials in of.items()]
    text = Page(page_of(*runs)).text
    assert "none/run has no curve: it has no trials." in text
    assert "crashed/run has no curve: none of its trials has a validation accuracy." in text
    assert "stopped/run has no curve: none of its trials was completed." in text


def test_names_that_are_alike_stay_apart_in_plots(tmp_path: Path) -> None:
    names = [f"a-long-name-of-a-run-with-{which}" for which in ("dropout", "batch-norm")]
    html = page_of(*(run_named(tmp_path, name) for name in names))
    for name, short in zip(
        names, ("a-long-name…ropout/run", "a-long-name…h-norm/run"), strict=True
    ):
        assert html.count(f"<title>{name}/run</title>{short}</text>") == 2


def test_another_networks_function_is_named(tmp_path: Path) -> None:
    run = run_named(tmp_path, "a")
    tables = {"model": {"builder": "my.nets:wide"}, "space": {"depth": 7}}
    run.write("settings.toml", settings_text(**tables).encode())
    text = Page(page_of(run, run_named(tmp_path, "b"))).text
    assert "a/run Built by my.nets:wide ." in text
    assert text.count("Built by") == 1


def answered(folder: Path, name: str, wrong: range, **changes: Any) -> Directory:
    """A run that names 60 images of two classes rightly but for some."""
    labels = np.arange(60) % 2
    named = labels.copy()
    named[list(wrong)] ^= 1
    accuracy = float((named == labels).mean())
    tested: dict[str, Any] = {"accuracy": accuracy, "interval": None, "count": 60, "confusion": []}
    run = run_named(folder, name, test=tested, **changes)
    write_answers(run, labels.tolist(), np.eye(2)[named])
    return run


def test_two_runs_on_the_same_images_are_compared_image_by_image(tmp_path: Path) -> None:
    good, worse = answered(tmp_path, "a", range(3)), answered(tmp_path, "b", range(3, 15))
    text = Page(page_of(worse, good)).text
    assert "a/run is right on 12 images that b/run gets wrong" in text
    assert "b/run on 3 that a/run gets wrong: p = 0.035. a/run is better." in text
    assert "Holm" not in text
    assert "runs may well be equally good" not in text


def test_p_values_of_several_runs_are_corrected_for_all_pairs(tmp_path: Path) -> None:
    runs = [answered(tmp_path, "a", range(3)), answered(tmp_path, "b", range(3, 15))]
    runs.append(answered(tmp_path, "c", range(3)))
    text = Page(page_of(*runs)).text
    assert "p = 0.035, corrected p = 0.11. The difference is not significant." in text
    assert "a/run and c/run are right on the same images." in text
    assert "s method for all 3 pairs of these runs" in text


def test_other_images_cannot_be_paired_and_that_is_said(tmp_path: Path) -> None:
    runs = [answered(tmp_path, name, range(3)) for name in "ab"]
    runs.append(answered(tmp_path, "other", range(5), data={"fingerprint": "ffff"}))
    runs.append(run_named(tmp_path, "old"))
    runs.append(answered(tmp_path, "torn", range(5)))
    runs[-1].write("test.parquet", b"PAR1 torn")
    moved = answered(tmp_path, "moved", range(5))
    labels = [number % 2 for number in range(60)]
    write_answers(moved, labels, np.eye(2)[labels], paths=[f"new/{n}.jpg" for n in range(60)])
    text = Page(page_of(*runs, moved)).text
    assert "other/run: no other run was tested on the same images." in text
    assert "moved/run: no other run was tested on the same images." in text
    assert "old/run: it has no test.parquet." in text
    assert "torn/run: it has a test.parquet that cannot be read." in text
    assert "a/run and b/run are right on the same images." in text


def test_images_are_paired_by_path_whatever_their_order(tmp_path: Path) -> None:
    first, second = answered(tmp_path, "a", range(1)), answered(tmp_path, "b", range(1))
    labels = (np.arange(60) % 2)[::-1]
    named = labels.copy()
    named[-1] ^= 1
    paths = [f"all/{number}.jpg" for number in range(60)][::-1]
    write_answers(second, labels.tolist(), np.eye(2)[named], paths=paths)
    assert "a/run and b/run are right on the same images." in Page(page_of(first, second)).text


def test_the_exact_test_and_holms_correction_are_those_of_the_books() -> None:
    # 2 * (1 + 15 + 105 + 455) / 2^15
    assert mcnemar(12, 3) == pytest.approx(2 * (1 + 15 + 105 + 455) / 2**15)
    assert mcnemar(3, 12) == mcnemar(12, 3)
    assert mcnemar(0, 0) == mcnemar(5, 5) == 1
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([0.2]) == [0.2]


def test_hostile_names_are_escaped(tmp_path: Path) -> None:
    name = HOSTILE.replace("/", "\\")
    runs = [run_directory(tmp_path / name, result(params={HOSTILE: HOSTILE}))]
    runs.append(run_named(tmp_path, "b"))
    html = page_of(*runs)
    assert HOSTILE not in html
    assert name not in html
    assert ESCAPED in html
    assert Page(html).tags.count("script") == 1


def test_the_command_writes_one_page(tmp_path: Path) -> None:
    runs = [run_named(tmp_path, name).uri for name in "ab"]
    out = tmp_path / "both.html"
    done = command(*runs, "--out", out)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{out}\n"
    assert "2 runs compared" in out.read_text()


def test_bad_input_is_one_line_and_exit_code_2(tmp_path: Path) -> None:
    run = run_named(tmp_path, "a").uri
    assert "is not a folder" in refused(run, tmp_path / "none")
    assert "--out" in refused(run, "--out", tmp_path / "x.html")
    assert "--out must name a file" in refused(run, run, "--out", tmp_path / "none" / "x.html")
    assert "--out must name a file" in refused(run, run, "--out", tmp_path)
