"""What a browser would see of a page, and the command that makes one."""

import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from cnn.report.page import render_report
from cnn.rundir.trials import TrialResult
from support.jobs import one_line
from support.made_up import result, run_directory


class Page(HTMLParser):
    """What a browser would load, show and count of a page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.references: list[str] = []
        self.tags: list[str] = []
        self.ids: list[str] = []
        self.labels: list[str] = []
        self.text = ""
        self.feed(html)
        self.text = " ".join(self.text.split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        for name, value in attrs:
            if name in {"src", "href", "xlink:href", "srcset", "action", "data", "poster"}:
                self.references.append(value or "")
            if name == "id":
                self.ids.append(value or "")
            if tag == "svg" and name == "aria-label":
                self.labels.append(value or "")

    def handle_data(self, data: str) -> None:
        if self.tags[-1:] not in (["style"], ["script"]):
            self.text += data + " "


def command(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "cnn.report", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def refused(*arguments: str | Path) -> str:
    """The one line on stderr of a command that must exit with 2."""
    done = command(*arguments)
    assert done.returncode == 2, done.stderr
    return one_line(done.stderr)


def text_of(folder: Path, trials: list[TrialResult] | None = None, **changes: Any) -> str:
    return Page(render_report(run_directory(folder, result(**changes), trials))).text
