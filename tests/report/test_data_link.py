"""A report links to the page of its data set where that is the same data, and can be reached."""

import json
from pathlib import Path

import pytest
from support.made_up import manifest, result, run_directory
from support.pages import Page

from cnn.core.directory import Directory
from cnn.data.manifest import write_manifest
from cnn.report.data_link import DataLink, data_link
from cnn.report.page import render_report
from cnn.rundir.data_of_run import START


def data_at(folder: Path) -> tuple[Directory, str]:
    made = manifest(16, {"a": 5, "b": 5})
    write_manifest(Directory(folder), made)
    (folder / "data.html").write_text("a page")
    return Directory(folder), made.fingerprint


def test_a_page_beside_the_run_is_a_relative_link(tmp_path: Path) -> None:
    data, fingerprint = data_at(tmp_path / "my data: 1")
    run = Directory(tmp_path / "runs" / "first")
    run.write(START, json.dumps({"data": data.uri}).encode())
    link = DataLink(f"{data.uri}/data.html", "../../my%20data%3A%201/data.html")
    assert data_link(run, fingerprint) == link
    # Another data set by now, and none.
    assert data_link(run, "1" * 64) is None
    (tmp_path / "my data: 1" / "data.html").unlink()
    assert data_link(run, fingerprint) is None


@pytest.mark.parametrize(
    "start",
    [None, b"{", b"[]", b'{"data": 3}', b'{"data": "s3://bucket/data"}', b'{"data": "x://u:p@h/"}'],
)
def test_a_run_that_names_no_data_here_has_no_link(start: bytes | None, tmp_path: Path) -> None:
    run = Directory(tmp_path)
    if start is not None:
        run.write(START, start)
    assert data_link(run, "0" * 64) is None


def test_the_report_shows_the_link(tmp_path: Path) -> None:
    data, fingerprint = data_at(tmp_path / "data")
    run = run_directory(tmp_path, result(data={"fingerprint": fingerprint}))
    run.write(START, json.dumps({"data": data.uri}).encode())
    assert "../data/data.html" in Page(render_report(run)).references
