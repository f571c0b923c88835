"""python -m cnn.report RUN RUN ...: several runs on one page."""

from pathlib import Path
from typing import Any

import pytest
from report_runs import ESCAPED, HOSTILE, Page, command, refused, result, run_directory, trial

from cnn.comparison import render_comparison
from cnn.run_record import read_run
from cnn.storage import Directory


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
        "test accuracies with their intervals",
        "best validation accuracy over time",
    ]
    assert html == page_of(first, second)


@pytest.mark.parametrize("fingerprint", ["ffff", None])
def test_other_data_is_a_warning(tmp_path: Path, fingerprint: str | None) -> None:
    other = run_named(tmp_path, "b", data={"fingerprint": fingerprint})
    assert "Not the same data." in Page(page_of(run_named(tmp_path, "a"), other)).text


def test_runs_of_which_little_is_known_are_compared(tmp_path: Path) -> None:
    empty = [run_directory(tmp_path / name, {}, []) for name in "ab"]
    page = Page(page_of(*empty))
    assert "2 runs compared" in page.text
    assert page.labels == []


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
    assert "is no folder" in refused(run, tmp_path / "none")
    assert "--out" in refused(run, "--out", tmp_path / "x.html")
    assert "--out must name a file" in refused(run, run, "--out", tmp_path / "none" / "x.html")
    assert "--out must name a file" in refused(run, run, "--out", tmp_path)
