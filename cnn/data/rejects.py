"""Files that did not become images: their paths and reasons, in `rejects/`."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from cnn.core.directory import Directory
from cnn.core.errors import Error, Option
from cnn.data.data_settings import DataSettings

REJECTS = "rejects"
_SCHEMA = pa.schema([("path", pa.string()), ("reason", pa.string())])

Reject = tuple[str, str]


class Kind(NamedTuple):
    """How many files were rejected for one kind of reason, and the path of one of them."""

    number: int
    example: str


Kinds = dict[str, Kind]


class AbsentRows(NamedTuple):
    """Rows of a table of labels that name no file: rejects that the driver does not hold."""

    kinds: Kinds
    # Writes them to the rejects of a data directory, by tasks.
    write: Callable[[Directory], None]

    @property
    def total(self) -> int:
        """Their number."""
        return sum(kind.number for kind in self.kinds.values())


def write_rejects(staging: Directory, rejected: Sequence[Reject]) -> None:
    """Writes the path and reason of every rejected file, for `read_rejects`."""
    columns = list(zip(*sorted(rejected), strict=True)) or [(), ()]
    write_table(staging, "part-00000", pa.table([list(c) for c in columns], schema=_SCHEMA))


def write_table(data: Directory, name: str, rejected: pa.Table) -> None:
    """Writes one of the files of a data directory's rejects."""
    sink = pa.BufferOutputStream()
    pq.write_table(rejected, sink)
    data.write(f"{REJECTS}/{name}.parquet", sink.getvalue().to_pybytes())


def rejects_table(rejected: pa.Table) -> pa.Table:
    """Paths and reasons as they are written, sorted by path; a path that is null becomes ""."""
    paths = pc.fill_null(rejected["path"], "")
    return pa.table([paths, rejected["reason"]], schema=_SCHEMA).sort_by("path")


def read_rejects(data: Directory) -> list[Reject]:
    """Reads the path and reason of every rejected file, sorted by path."""
    filesystem, path = data.path(REJECTS)
    table = pq.read_table(path, filesystem=filesystem, schema=_SCHEMA).sort_by("path")
    return [(row["path"], row["reason"]) for row in table.to_pylist()]


def read_kinds(data: Directory) -> Kinds:
    """What `kinds_of` finds in the rejects of a data directory, without reading them at once."""
    found: Kinds = {}
    for name in data.names(REJECTS):
        filesystem, path = data.path(f"{REJECTS}/{name}")
        with pq.ParquetFile(path, filesystem=filesystem) as file:
            for batch in file.iter_batches():
                kinds = pc.utf8_trim_whitespace(
                    pc.replace_substring_regex(batch.column("reason"), r"(?s)\(.*", "")
                )
                table = pa.table({"kind": kinds, "path": batch.column("path")})
                counted = table.group_by("kind").aggregate([("path", "count"), ("path", "min")])
                rows = zip(*(column.to_pylist() for column in counted.columns), strict=True)
                found = add_kinds(found, {kind: Kind(n, path) for kind, n, path in rows})
    return found


def kind_of(reason: str) -> str:
    """A reject's reason without the details of one file."""
    return reason.partition("(")[0].strip()


def kinds_of(rejects: Iterable[Reject]) -> Kinds:
    """Counts rejects by kind of reason."""
    examples: dict[str, str] = {}
    counts: Counter[str] = Counter()
    for path, reason in rejects:
        kind = kind_of(reason)
        counts[kind] += 1
        examples[kind] = min(path, examples.get(kind, path))
    return {kind: Kind(count, examples[kind]) for kind, count in counts.items()}


def add_kinds(*found: Kinds) -> Kinds:
    """The sums of such counts, the most frequent kind first."""
    total: Kinds = {}
    for kinds in found:
        for name, kind in kinds.items():
            known = total.get(name, Kind(0, kind.example))
            example = min(known.example, kind.example)
            total[name] = Kind(known.number + kind.number, example)
    return dict(sorted(total.items(), key=lambda item: -item[1].number))


def describe_rejects(kinds: Kinds) -> list[str]:
    """One line for each kind of reason, with a count and an example."""
    return [f"{count:,} {kind} (such as {path!r})" for kind, (count, path) in kinds.items()]


def check_rejects(kinds: Kinds, listed: int, settings: DataSettings) -> Error | None:
    """The error if more files were rejected than the settings allow."""
    limit = settings.max_rejects
    allowed = limit * listed if limit < 1 else limit
    rejected = sum(kind.number for kind in kinds.values())
    if rejected <= allowed:
        return None
    return Error(
        "{} must not be exceeded: at most {:g} of {} files may be rejected, but {} were: {}",
        Option("max_rejects"),
        allowed,
        listed,
        rejected,
        "; ".join(describe_rejects(kinds)),
    )
