"""What a notebook's cell shows of work under way, and of errors, in a real kernel without Spark."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell, new_notebook
from support.paths import REPOSITORY

HOSTILE = "<img src=x onerror=alert(1)>"
# Its parameters and its title are anybody's text.
FOLLOW = f"""
import time
from datetime import UTC, datetime
from cnn.core.notebook import display_here
from cnn.search.progress import SearchProgress
from cnn.rundir.trials import TrialResult
from cnn.rundir.heartbeat import TrialProgress

def trial(number):
    now = datetime.now(UTC)
    scores = dict(status="ok", accuracy=0.5 + number / 10, loss=0.5)
    common = dict(phase="search", started=now, ended=now)
    return TrialResult(number=number, params={{"name": "{HOSTILE}"}}, **scores, **common)

def read(numbers):
    return {{n: TrialProgress(number=n, epoch=1.25, max_epochs=5) for n in numbers}}

def follow(display, title):
    with SearchProgress(
        title, "val_accuracy", total=2, parallelism=1, varying=["name", "{HOSTILE}"],
        read=read, display=display,
    ) as progress:
        for number in range(2):
            progress.launched(number, {{"name": "{HOSTILE}", "{HOSTILE}": 0.123456}})
            time.sleep(1.2)
            progress.finished(trial(number))
"""
SHOWN = """
display = display_here()
follow(display, "phase first <b>")
follow(display, "phase second")
"""
# A page that takes no display, as where a front end has no way to update one.
REFUSED = """
def refuse(*arguments, **options):
    raise RuntimeError("no displays here")

publisher, published = get_ipython().display_pub, get_ipython().display_pub.publish
publisher.publish = refuse
follow(display_here(), "phase third")
publisher.publish = published
"""
TYPO = """
from cnn import InputError
def load():
    try:
        {}["a"]
    except KeyError as error:
        raise InputError("no such setting,\\nat s3://me:secret@host/") from error
load()
"""


class Cells:
    """A notebook's cells with what each of them put out, and what was drawn on the way."""

    def __init__(self, folder: Path, sources: dict[str, str]) -> None:
        raises = {"tags": ["raises-exception"]}
        cells = [new_code_cell(source, metadata=raises) for source in sources.values()]
        notebook = new_notebook(cells=cells)
        resources = {"metadata": {"path": str(folder)}}
        self.drawn: list[str] = []
        client = _Client(notebook, timeout=100, resources=resources)
        client.on_update = self.drawn.append
        client.execute()
        self.outputs = dict(zip(sources, [cell.outputs for cell in notebook.cells], strict=True))

    def of(self, name: str, kind: str) -> list[Any]:
        return [output for output in self.outputs[name] if output.output_type == kind]


class _Client(NotebookClient):
    on_update: Callable[[str], None]

    def process_message(self, msg: Any, cell: Any, cell_index: int) -> Any:
        if msg["msg_type"] == "update_display_data":
            self.on_update(msg["content"]["data"]["text/html"])
        return super().process_message(msg, cell, cell_index)


@pytest.fixture(scope="module")
def cells(tmp_path_factory: pytest.TempPathFactory) -> Cells:
    path = f"import sys; sys.path.insert(0, {str(REPOSITORY)!r})"
    sources = {"path": path, "follow": FOLLOW, "shown": SHOWN, "refused": REFUSED, "typo": TYPO}
    return Cells(tmp_path_factory.mktemp("cells"), sources)


def test_trials_are_one_table_redrawn_in_place(cells: Cells) -> None:
    # The one output that there is, though two rounds were shown.
    (shown,) = cells.outputs["shown"]
    assert shown.output_type == "display_data"
    html = shown.data["text/html"]
    assert "phase first &lt;b&gt;: 2 of 2 trials done" in html
    assert "phase second: 2 of 2 trials done" in html
    assert "best: 1" in html
    assert "0.6000" in html
    # On the way there what ran was seen, with the parts of its epochs.
    running = [text for text in cells.drawn if "1.2/5" in text or "1.3/5" in text]
    assert any("1 of 1 slots busy, " in text and "0.123<" in text for text in running)
    assert len(cells.drawn) >= 6


def test_what_comes_from_outside_is_escaped(cells: Cells) -> None:
    for html in (*cells.drawn, cells.outputs["shown"][0].data["text/html"]):
        assert "<img" not in html
        assert "<b>:" not in html
    assert "&lt;img src=x onerror=alert(1)&gt;" in "".join(cells.drawn)


def test_where_nothing_can_be_displayed_there_are_lines(cells: Cells) -> None:
    said = "".join(output.text for output in cells.of("refused", "stream"))
    assert "phase third: 0 of 2 trials done" in said
    assert "trial 0: ok 0.5000 | phase third: 1 of 2 trials done" in said
    assert "trial 1: ok 0.6000 | phase third: 2 of 2 trials done" in said
    assert cells.of("refused", "error") == []
    assert cells.of("refused", "display_data") == []


def test_an_error_of_ours_is_one_line(cells: Cells) -> None:
    (error,) = cells.outputs["typo"]
    assert error.ename == "InputError"
    # In one line, and without a password.
    line = "InputError: no such setting, at s3://host/"
    assert error.traceback == [line]
