"""The link from a run's report to the page of its data set."""

import os
from typing import NamedTuple
from urllib.parse import quote

from cnn.core.directory import Directory
from cnn.core.errors import InputError
from cnn.data.manifest import read_manifest
from cnn.data.overview import DATA_PAGE
from cnn.rundir.data_of_run import data_of


class DataLink(NamedTuple):
    """The page's path or URI, and its address relative to the run directory if it has one."""

    path: str
    address: str | None


def data_link(run: Directory, fingerprint: str) -> DataLink | None:
    """The page of the data set that a run used; None if it is not there, or shows another one.

    A run directory is not trusted: one on this machine must not make its reader ask a store.
    """
    data = data_of(run)
    if data is None or ("://" in data.uri and "://" not in run.uri):
        return None
    try:
        if not data.exists(DATA_PAGE) or read_manifest(data).fingerprint != fingerprint:
            return None
    except (OSError, InputError):
        return None
    address = None
    if data.local_path is not None and run.local_path is not None:
        address = quote(os.path.relpath(data.local_path / DATA_PAGE, run.local_path))
    return DataLink(f"{data.uri}/{DATA_PAGE}", address)
