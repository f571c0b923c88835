"""The report of many classes: which are confused, and how often the right one is nearly named."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.made_up import HOSTILE, many_classes, result, run_directory, trial
from support.pages import Page

from cnn.core.directory import Directory
from cnn.report.page import render_report
from cnn.rundir.result import read_result
from cnn.rundir.test_predictions import count_in_top


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Directory:
    return many_classes(tmp_path_factory.mktemp("many"))


@pytest.fixture(scope="module")
def html(run: Directory) -> str:
    return render_report(run)


def test_the_worst_pairs_come_first(run: Directory, html: str) -> None:
    found = read_result(run)
    matrix, names = np.array(found.test.confusion), found.data.classes
    np.fill_diagonal(matrix, 0)
    rows = re.findall(
        r'<th class="left label" scope="row" title="[^"]*">([^<]*)</th>'
        r'<td class="left label" title="[^"]*">([^<]*)</td><td>(\d+)</td><td>([\d.]+)\xa0%</td>',
        html,
    )
    assert len(rows) == 20
    counts = [int(count) for _, _, count, _ in rows]
    assert counts == sorted(matrix.ravel().tolist(), reverse=True)[:20]
    for true, named, count, share in rows:
        assert matrix[names.index(true), names.index(named)] == int(count)
        assert float(share) == pytest.approx(100 * int(count) / 12, abs=0.05)
    assert f"The worst 20 of {(matrix > 0).sum()} pairs" in Page(html).text


def test_every_class_is_named_in_full_the_worst_first(run: Directory, html: str) -> None:
    names = read_result(run).data.classes
    rows = re.findall(
        r'title="([^"]*)">([^<]*)</th><td>12</td><td>([\d.]+)\xa0%</td><td>[^<]*</td></tr>', html
    )
    assert sorted(name for _, name, _ in rows) == sorted(names)
    assert all(title == name for title, name, _ in rows)
    recalls = [float(recall) for *_, recall in rows]
    assert recalls == sorted(recalls)
    assert 'aria-sort="ascending">recall' in html


def test_what_result_json_says_of_the_first_five_is_shown(tmp_path: Path) -> None:
    names = [f"class {label}" for label in range(20)]
    matrix = (np.eye(20, dtype=int) * 5).tolist()
    tested: dict[str, Any] = {"count": 100, "confusion": matrix, "top5_accuracy": 0.87}
    tested["top5_interval"] = {"low": 0.79, "high": 0.9222}
    content = result(data={"classes": names, "counts": {}}, test=tested)
    text = Page(render_report(run_directory(tmp_path, content, [trial(7)]))).text
    assert "test, top-5 accuracy 87.0 % 79.0 % to 92.2 %" in text


def test_of_equal_probabilities_the_first_count() -> None:
    alike = np.full((6, 20), 0.05)
    assert count_in_top(alike, np.arange(6)) == 5
    assert count_in_top(alike[:, :19], np.arange(6)) is None
    alike[0, 0] = np.nan
    assert count_in_top(alike, np.arange(6)) is None


def test_no_confusion_at_all_is_said(tmp_path: Path) -> None:
    names = [f"class {label}" for label in range(30)]
    matrix = (np.eye(30, dtype=int) * 4).tolist()
    content = result(data={"classes": names, "counts": {}}, test={"confusion": matrix})
    text = Page(render_report(run_directory(tmp_path, content, [trial(7)]))).text
    assert "No image was misclassified." in text


def test_hostile_class_names_are_escaped(tmp_path: Path) -> None:
    names = [f'{HOSTILE}" onload="x {label}' for label in range(30)]
    matrix = np.ones((30, 30), int).tolist()
    content = result(data={"classes": names, "counts": {}}, test={"confusion": matrix})
    html = render_report(run_directory(tmp_path, content, [trial(7)]))
    assert HOSTILE not in html
    assert 'onload="x' not in html


def test_long_parameters_are_whole_where_one_points_at_them(tmp_path: Path) -> None:
    names = [f"a_parameter_with_a_very_long_name_{which}" for which in ("<b>", "two")]
    choices = [f"the-choice-{which}" for which in ("of-one", "of-<i>")]
    trials = [
        trial(n, params={names[0]: choices[n % 2], names[1]: 0.1 * n}, accuracy=0.5 + 0.01 * n)
        for n in range(9)
    ]
    html = render_report(run_directory(tmp_path, result(), trials))
    assert (
        "<title>a parameter with a very long name &lt;b&gt;</title>a parameter…g name &lt;b&gt;"
        in html
    )
    assert "<title>the-choice-of-&lt;i&gt;</title>the-ch…f-&lt;i&gt;</text>" in html
    assert "<b>a" not in html
    assert "<i>" not in html
