"""Builds a data directory from listed images: group, split, decode on Spark, commit atomically."""

import hashlib
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from cnn.core.commit import staged
from cnn.core.console import say
from cnn.core.directory import Directory
from cnn.core.errors import Error, InputError, Option
from cnn.core.failure_reason import failure
from cnn.data.blank_images import BlankImage, write_blank
from cnn.data.deep_images import ValueRange
from cnn.data.deep_value_range import describe_dark, find_range
from cnn.data.duplicates import (
    Digests,
    contradictions,
    digest_candidates,
    find_duplicates,
    withheld,
    write_duplicates,
)
from cnn.data.given_split import Images
from cnn.data.listing import Listing
from cnn.data.manifest import (
    MANIFEST,
    DataSettings,
    Manifest,
    Source,
    read_manifest,
    write_manifest,
)
from cnn.data.parts import Part, PartResult, cut_parts
from cnn.data.splits import TEST, TRAIN, ImageFile, assign, connected_groups, tie_keys
from cnn.spark.slots import wait_for_executors

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

REJECTS = "rejects"
_REJECT_SCHEMA = pa.schema([("path", pa.string()), ("reason", pa.string())])

Reject = tuple[str, str]


def make_dataset(
    spark: "SparkSession",
    images: Images,
    out: Directory,
    settings: DataSettings,
    listing: Listing,
    *,
    source: Source,
    sample: bool = False,
) -> Manifest:
    """Decodes the listed images in parallel and commits a data directory at `out`.

    Everything is written next to `out` and moved there when it is complete; it replaces a data
    directory that was there. Raises Error, and leaves nothing behind, if too many files are
    rejected.
    """
    started = time.monotonic()
    wait_for_executors(spark.sparkContext)
    with _as_error():
        digests = digest_candidates(
            listing.files, lambda files, whole: images.digests(spark, files, whole)
        )
    screened = _screen(listing.files, digests, settings)
    rejected = [*screened.contradictory, *listing.rejects]
    split = assign(screened.files, screened.groups, listing.classes, settings)
    sizes = {file.path: file.size for file in screened.files}
    # An official test set is read after the training images, and each must end with short parts.
    apart = [split] if settings.test_images is None else [{name: split[name]} for name in split]
    cores = spark.sparkContext.defaultParallelism
    parts = [part for rows in apart for part in cut_parts(rows, sizes, settings, cores)]

    with staged(out, MANIFEST) as staging:
        for name in (TRAIN, TEST):
            staging.sub(name).create()
        with _as_error():
            results, value_range = _write(spark, images, parts, staging, settings)
        rejected += [reject for result in results for reject in result.rejects]
        listed = len(listing.files) + len(listing.rejects)
        _check_rejects(rejected, listed, settings)
        rejected += screened.withheld
        write_rejects(staging, rejected)
        write_duplicates(staging, screened.duplicates)
        blank = [
            BlankImage(path, result.split, listing.classes[label])
            for result in results
            for path, label in result.blank
        ]
        write_blank(staging, blank)
        manifest = Manifest(
            size=settings.image_size,
            channels=settings.channels,
            classes=listing.classes,
            counts=_counts(results, listing.classes),
            groups=len(set(screened.groups)),
            duplicates=len(screened.duplicates),
            listed=listed,
            rejects=len(rejected),
            withheld=len(screened.withheld),
            reasons=dict(Counter(kind_of(reason) for _, reason in rejected).most_common()),
            ignored=listing.ignored,
            blank=len(blank),
            value_range=value_range,
            settings=settings,
            source=source,
            sample=sample,
            inputs=listing.inputs,
            fingerprint=_fingerprint(results, settings, listing.classes),
            seconds=round(time.monotonic() - started, 3),
        )
        missing = listed - len(rejected) - sum(manifest.total(name) for name in (TRAIN, TEST))
        if missing:
            raise Error(f"internal error: {missing} files unaccounted for")
        write_manifest(staging, manifest)
    return manifest


class _Screened(NamedTuple):
    """The files that become rows, each with its group, and those that do not."""

    files: list[ImageFile]
    groups: list[str]
    contradictory: list[Reject]
    # Training images that are also in an official test set.
    withheld: list[Reject]
    # Files with the same bytes as an earlier file, each with that file.
    duplicates: list[tuple[str, str]]


def _screen(files: Sequence[ImageFile], digests: Digests, settings: DataSettings) -> _Screened:
    # Empty files have the same bytes, but are rejected because they are empty.
    digests = [digest if file.size else None for file, digest in zip(files, digests, strict=True)]
    keys = tie_keys(files, settings)
    contradictory = contradictions(files, digests)
    left = [i for i in range(len(files)) if i not in contradictory]
    some = [files[i] for i in left]
    same = [digests[i] for i in left]
    groups = connected_groups([keys[i] for i in left], same)
    apart = withheld(some, same, groups)
    kept = [i for i in range(len(some)) if i not in apart]
    return _Screened(
        [some[i] for i in kept],
        [groups[i] for i in kept],
        list(contradictory.values()),
        list(apart.values()),
        find_duplicates([some[i] for i in kept], [same[i] for i in kept]),
    )


def _write(
    spark: "SparkSession",
    images: Images,
    parts: Sequence[Part],
    staging: Directory,
    settings: DataSettings,
) -> tuple[list[PartResult], ValueRange | None]:
    """Writes all parts. Parts with deep images are written again when the value range of all
    training images is known; a data set without deep images is read once.
    """
    known = settings.value_range
    how = settings.decoding(known)
    results = images.write(spark, parts, staging, how, look=known is None)
    again = [number for number, result in enumerate(results) if result.deep]
    if not again:
        return results, known
    deep = [image for result in results if result.split == TRAIN for image in result.deep]
    if deep:
        known = find_range(deep)
        warning = describe_dark(deep, known)
        if warning is not None:
            say(warning)
    # Deep test images become rejects if there is no range: test images do not determine one.
    how = settings.decoding(known)
    written = images.write(spark, [parts[number] for number in again], staging, how)
    for number, result in zip(again, written, strict=True):
        results[number] = result
    return results, known


@contextmanager
def _as_error() -> Iterator[None]:
    try:
        yield
    except Error:
        raise
    except Exception as error:
        raise Error(f"preprocessing failed, and nothing was written: {failure(error)}") from error


def existing_dataset(out: Directory, inputs: str) -> Manifest | None:
    """The data set at `out` if it was made from the same inputs and settings."""
    if not out.exists(MANIFEST):
        return None
    try:
        manifest = read_manifest(out)
    except InputError:
        return None
    return manifest if manifest.inputs == inputs else None


def read_rejects(data: Directory) -> list[Reject]:
    """Reads the path and reason of every rejected file, sorted by path."""
    filesystem, path = data.path(REJECTS)
    table = pq.read_table(path, filesystem=filesystem, schema=_REJECT_SCHEMA)
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


def _fingerprint(
    results: Iterable[PartResult], settings: DataSettings, classes: Sequence[str]
) -> str:
    """A hash of all rows and positions: a sum, so that it does not depend on the parts."""
    total = sum(result.checksum for result in results) % 2**128
    text = f"{total:032x} {settings.image_size} {settings.channels} {'/'.join(classes)}"
    return hashlib.sha256(text.encode()).hexdigest()


def _check_rejects(rejected: Sequence[Reject], listed: int, settings: DataSettings) -> None:
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


def write_rejects(staging: Directory, rejected: Sequence[Reject]) -> None:
    """Writes the path and reason of every rejected file, for `read_rejects`."""
    columns = list(zip(*sorted(rejected), strict=True)) or [(), ()]
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table([list(c) for c in columns], schema=_REJECT_SCHEMA), sink)
    staging.write(f"{REJECTS}/part-00000.parquet", sink.getvalue().to_pybytes())


def _counts(results: Iterable[PartResult], classes: Sequence[str]) -> dict[str, dict[str, int]]:
    counts = {split: dict.fromkeys(classes, 0) for split in (TRAIN, TEST)}
    for result in results:
        for label, count in result.counts.items():
            counts[result.split][classes[label]] += count
    for split, by_class in counts.items():
        for name, count in by_class.items():
            if count == 0:
                raise Error(f"no image of class {name!r} in the {split} split could be decoded")
    return counts
