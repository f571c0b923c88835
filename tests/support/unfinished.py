"""A finished run as its driver left it before the last trial, and what resuming it must keep."""

import shutil
from pathlib import Path


def unfinished_copy(whole: Path, run: Path) -> Path:
    """Copies a run to `run` without its result and its last trial; returns that trial's file."""
    shutil.copytree(whole, run)
    (run / "result.json").unlink()
    last = max((run / "trials").iterdir())
    last.unlink()
    return last


def assert_others_kept(whole: Path, run: Path, last: Path) -> None:
    """The trials of a resumed run are the same files as before, except the last one."""
    kept = {t.name: t.read_bytes() for t in (whole / "trials").iterdir() if t.name != last.name}
    assert kept.items() <= {t.name: t.read_bytes() for t in (run / "trials").iterdir()}.items()
