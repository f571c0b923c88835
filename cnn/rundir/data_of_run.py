"""Where a run's data directory is, or was."""

from cnn.core.directory import Directory
from cnn.core.documents import Malformed, read_json
from cnn.core.errors import InputError

# What a run was started with; `cnn.search.journal` writes it.
START = "run.json"


def data_of(run: Directory) -> Directory | None:
    """The data directory that a run was started with; None if the run does not say."""
    try:
        start = read_json(run, START)
        return Directory(start["data"]) if isinstance(start["data"], str) else None
    except (OSError, Malformed, InputError, KeyError, TypeError):
        return None
