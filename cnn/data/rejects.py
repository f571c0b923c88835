"""Files that did not become images: their paths and reasons, in `rejects/`."""

from collections import Counter
from collections.abc import Iterable, Sequence

import pyarrow as pa
import pyarrow.parquet as pq

from cnn.core.directory import Directory
from cnn.core.errors import Error, Option
from cnn.data.manifest import DataSettings

REJECTS = "rejects"
_SCHEMA = pa.schema([("path", pa.string()), ("reason", pa.string())])

Reject = tuple[str, str]


def write_rejects(staging: Directory, rejected: Sequence[Reject]) -> None:
    """Writes the path and reason of every rejected file, for `read_rejects`."""
    columns = list(zip(*sorted(rejected), strict=True)) or [(), ()]
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table([list(c) for c in columns], schema=_SCHEMA), sink)
    staging.write(f"{REJECTS}/part-00000.parquet", sink.getvalue().to_pybytes())


def read_rejects(data: Directory) -> list[Reject]:
    """Reads the path and reason of every rejected file, sorted by path."""
    filesystem, path = data.path(REJECTS)
    table = pq.read_table(path, filesystem=filesystem, schema=_SCHEMA)
    return [(row["path"], row["reason"]) for row in table.to_pylist()]


def kind_of(reason: str) -> str:
    """A reject's reason without the details of one file."""
    return reason.partition("(")[0].strip()


def describe_rejects(rejects: Iterable[Reject]) -> list[str]:
    """One line for each kind of reason, with a count and an example."""
    examples: dict[str, str] = {}
    kinds: Counter[str] = Counter()
    for path, reason in rejects:
        kinds[kind_of(reason)] += 1
        examples.setdefault(kind_of(reason), path)
    return [f"{n} {kind} (such as {examples[kind]!r})" for kind, n in kinds.most_common()]


def check_rejects(rejected: Sequence[Reject], listed: int, settings: DataSettings) -> None:
    """Raises Error if more files were rejected than the settings allow."""
    limit = settings.max_rejects
    allowed = limit * listed if limit < 1 else limit
    if len(rejected) > allowed:
        raise Error(
            "{} must not be exceeded: at most {:g} of {} files may be rejected, but {} were: {}",
            Option("max_rejects"),
            allowed,
            listed,
            len(rejected),
            "; ".join(describe_rejects(rejected)),
        )
