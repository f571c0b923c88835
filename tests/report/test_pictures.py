"""The report's pictures: RUN/pictures.parquet may be missing, torn, foreign or hostile."""

import io
import re
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from support.made_up import ESCAPED, HOSTILE, result, run_directory, trial
from support.pages import Page

from cnn.core.directory import Directory
from cnn.model.picture_file import PICTURE_SCHEMA, PICTURES
from cnn.report.page import render_report


def png(size: int = 8, seed: int = 0) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (size, size, 3), dtype=np.uint8)
    sink = io.BytesIO()
    Image.fromarray(pixels).save(sink, "PNG")
    return sink.getvalue()


def picture(kind: str, **fields: Any) -> dict[str, Any]:
    made = {"kind": kind, "path": "images/faces/7.jpg", "label": 0, "png": png()}
    if kind != "sample":
        made |= {"prediction": 1 if kind == "mistake" else 0, "probability": 0.875}
    return made | fields


def run_with(folder: Path, rows: list[dict[str, Any]], **changes: Any) -> Directory:
    run = run_directory(folder, result(**changes), [trial(7)])
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows, schema=PICTURE_SCHEMA), sink)
    run.write(PICTURES, sink.getvalue())
    return run


def test_mistakes_uncertain_ones_and_samples_are_shown(tmp_path: Path) -> None:
    rows = [
        picture("mistake", path="all/faces/worst.jpg", probability=0.99),
        picture("mistake", path="all/comics/second.jpg", label=1, prediction=0),
        picture("uncertain", path="all/faces/barely.jpg", probability=0.5003),
        picture("sample"),
        picture("sample", label=1),
    ]
    html = render_report(run_with(tmp_path, rows))
    page = Page(html)
    assert "predicted comics, 99.0 % actually faces …/faces/worst.jpg" in page.text
    assert "predicted faces, 87.5 % actually comics …/comics/second.jpg" in page.text
    assert "The least certain correct predictions" in page.text
    assert "predicted faces, 50.0 % actually faces …/faces/barely.jpg" in page.text
    assert html.index("worst.jpg") < html.index("second.jpg") < html.index("barely.jpg")
    assert page.tags.count("img") == 5
    pictures = [reference for reference in page.references if not reference.startswith("#")]
    assert all(reference.startswith("data:image/png;base64,") for reference in pictures)
    assert "img-src data:" in html


def test_more_mistakes_than_pictures_are_counted(tmp_path: Path) -> None:
    run = run_with(
        tmp_path,
        [picture("mistake")],
        test={"accuracy": 113 / 120, "confusion": [[55, 5], [2, 58]]},
    )
    assert "1 of 7" in Page(render_report(run)).text


def test_no_mistakes_is_said(tmp_path: Path) -> None:
    run = run_with(
        tmp_path, [picture("sample")], test={"accuracy": 1.0, "confusion": [[60, 0], [0, 60]]}
    )
    assert "The network made no mistakes on the test images." in Page(render_report(run)).text


def test_hostile_paths_and_names_are_text(tmp_path: Path) -> None:
    rows = [
        picture("mistake", path=f"{HOSTILE}.jpg"),
        picture("mistake", path='" onerror="alert(1)', label=99, prediction=-1),
        picture("sample", path="a\x00b\x1b[31m\u202egpj.exe"),
    ]
    html = render_report(run_with(tmp_path, rows, data={"classes": [HOSTILE, "b"]}))
    assert HOSTILE not in html
    assert f"{ESCAPED}.jpg" in html
    assert 'onerror="' not in html
    assert "class 99" in html
    assert not re.search("[\x00-\x08\x0b-\x1f\u202e]", html)


@pytest.mark.parametrize("content", [None, b"", b"PAR1 torn", b"\x00" * 100])
def test_a_missing_or_torn_file_is_said_in_a_sentence(
    tmp_path: Path, content: bytes | None
) -> None:
    run = run_directory(tmp_path, result(), [trial(7)])
    if content is not None:
        run.write(PICTURES, content)
    text = Page(render_report(run)).text
    assert ("This run has no pictures.parquet" in text) is (content is None)
    assert ("pictures.parquet of this run cannot be read: " in text) is (content is not None)
    assert "Total mistakes: 1." in text
    assert "Traceback" not in text


def test_a_half_of_a_file_is_said_in_a_sentence(tmp_path: Path) -> None:
    run = run_with(tmp_path, [picture("mistake")])
    whole = run.read(PICTURES)
    run.write(PICTURES, whole[: len(whole) // 2])
    assert "cannot be read" in Page(render_report(run)).text


@pytest.mark.parametrize(
    "table",
    [
        pa.table({"path": ["a"], "kind": ["mistake"]}),
        pa.table({name: ["x"] for name in PICTURE_SCHEMA.names}),
        pa.table({name: [{"x": 1}] for name in PICTURE_SCHEMA.names}),
        pa.table({name: pa.nulls(2000) for name in PICTURE_SCHEMA.names}),
    ],
)
def test_a_foreign_table_is_said_in_a_sentence(tmp_path: Path, table: pa.Table) -> None:
    run = run_directory(tmp_path, result(), [trial(7)])
    sink = io.BytesIO()
    pq.write_table(table, sink)
    run.write(PICTURES, sink.getvalue())
    assert "cannot be read" in Page(render_report(run)).text


def test_only_pngs_of_a_modest_size_are_embedded(tmp_path: Path) -> None:
    rows = [
        picture("mistake", png=b"<svg onload=alert(1)>"),
        picture("mistake", png=png() + b"\x00" * 250_000),
        picture("mistake", png=None, path=None, probability=None, prediction=None),
        picture("mistake", probability=float("nan")),
    ]
    page = Page(render_report(run_with(tmp_path, rows)))
    assert page.tags.count("img") == 1
    assert page.text.count("no picture") == 3


def test_many_large_pictures_leave_the_page_below_2_mb(tmp_path: Path) -> None:
    rows = [picture("mistake", png=png(160, seed)) for seed in range(24)]
    rows += [picture("uncertain", png=png(160, seed)) for seed in range(12)]
    rows += [picture("sample", png=png(160, s), label=label) for label in (0, 1) for s in range(6)]
    rows += [picture("suspect", png=png(160, seed), prediction=1) for seed in range(24)]
    html = render_report(
        run_with(
            tmp_path,
            rows,
            test={"accuracy": 0.8, "confusion": [[36, 24], [0, 60]]},
            labels={"suspects": 24, "judged": {"train": 2640, "test": 120}},
        )
    )
    assert len(html) < 2_000_000
    text = Page(html).text
    shown = len(re.findall("predicted comics, 87.5 % actually faces", text))
    assert f"{shown} of 24" in text
    # Each class has its samples, however little room there is.
    assert html.count('alt="comics"') >= 1


def test_suspected_labels_are_shown_with_what_is_suggested(tmp_path: Path) -> None:
    rows = [picture("suspect", path=f"all/{HOSTILE}/1.jpg", prediction=1, probability=0.97)]
    run = run_with(tmp_path, rows, labels={"suspects": 40, "judged": {"train": 528, "test": 120}})
    html = render_report(run)
    page = Page(html)
    assert "labels" in page.ids
    assert "40 labels may be wrong, of 648 that could be judged" in page.text
    assert "528 of 2,640 training images" in page.text
    assert 'final.suspects = "all"' in page.text
    assert "The surest 1:" in page.text
    assert "suggested comics, 97.0 % labelled faces" in page.text
    assert HOSTILE not in html
    assert ESCAPED in html


def test_a_run_whose_labels_were_not_checked_has_no_such_section(tmp_path: Path) -> None:
    page = Page(render_report(run_with(tmp_path, [picture("mistake")])))
    assert "labels" not in page.ids
    assert "#labels" not in page.references
