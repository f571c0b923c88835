"""Builds a data directory from listed images: group, split, decode on Spark, commit atomically."""

import hashlib
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from cnn.core.commit import staged
from cnn.core.console import say
from cnn.core.directory import Directory
from cnn.core.errors import Error, InputError, Option
from cnn.core.failure_reason import failure
from cnn.data.blank_images import BlankImage, write_blank
from cnn.data.deep_images import ValueRange
from cnn.data.deep_value_range import describe_dark, find_range
from cnn.data.duplicates import digest_candidates, write_duplicates
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
from cnn.data.near_hashes import HASHES
from cnn.data.near_resolution import (
    Resolved,
    contradictory,
    resolve,
    write_near_duplicates,
)
from cnn.data.near_search import find_near_duplicates
from cnn.data.parts import Part, PartResult, cut_parts
from cnn.data.rearrange import rearrange
from cnn.data.rejects import add_kinds, check_rejects, kinds_of, write_rejects
from cnn.data.screening import screen
from cnn.data.splits import TEST, TRAIN, VALIDATION, Row, assign
from cnn.data.stem_ties import find_stem_ties
from cnn.spark.slots import wait_for_executors

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


def make_dataset(
    spark: "SparkSession",
    images: Images,
    out: Directory,
    settings: DataSettings,
    listing: Listing,
    *,
    source: Source,
    sample: bool = False,
    assumptions: Sequence[str] = (),
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
        ties, seen = find_stem_ties(
            listing.files, settings, lambda files: images.thumbnails(spark, files)
        )
    for line in seen:
        say(line)
    screened = screen(listing.files, digests, settings, ties)
    rejected = [*screened.contradictory, *listing.rejects]
    split = assign(screened.files, screened.groups, listing.classes, settings)
    validated = any(file.part == VALIDATION for file in screened.files)
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
        kinds = kinds_of(rejected)
        if listing.absent is not None:
            listed += listing.absent.total
            kinds = add_kinds(kinds, listing.absent.kinds)
            with _as_error():
                listing.absent.write(staging)
        check_rejects(kinds, listed, settings)
        with _as_error():
            how = settings.decoding(value_range)
            copies = {path for path, _ in screened.duplicates}
            found = find_near_duplicates(spark, staging, parts, how, copies)
            resolved = resolve(screened, found, settings)
            if resolved.files != screened.files or resolved.groups != screened.groups:
                split = _assign_again(resolved, listing.classes, settings)
                results = rearrange(spark, staging, parts, results, split, settings)
            staging.sub(HASHES).remove()
        write_near_duplicates(staging, resolved.near)
        unread = {path for path, _ in rejected}
        withheld = [*screened.withheld, *(r for r in resolved.withheld if r[0] not in unread)]
        left_out = [*withheld, *(r for r in resolved.dropped if r[0] not in unread)]
        kinds = add_kinds(kinds, kinds_of(left_out))
        rejected += left_out
        write_rejects(staging, rejected)
        write_duplicates(staging, resolved.duplicates)
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
            groups=len(set(resolved.groups)),
            duplicates=len(resolved.duplicates),
            listed=listed,
            rejects=sum(kind.number for kind in kinds.values()),
            withheld=len(withheld),
            near_duplicates=len(resolved.near),
            near_contradictions=len(contradictory(resolved.near)),
            reasons={name: kind.number for name, kind in kinds.items()},
            ignored=listing.ignored,
            table=listing.table,
            blank=len(blank),
            value_range=value_range,
            settings=settings,
            validation="given" if validated else None,
            assumptions=(*assumptions, *seen),
            source=source,
            sample=sample,
            inputs=listing.inputs,
            fingerprint=_fingerprint(results, settings, listing.classes),
            seconds=round(time.monotonic() - started, 3),
        )
        missing = listed - manifest.rejects - sum(manifest.total(name) for name in (TRAIN, TEST))
        if missing:
            raise Error(f"internal error: {missing} files unaccounted for")
        write_manifest(staging, manifest)
    return manifest


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


def _assign_again(
    resolved: Resolved, classes: Sequence[str], settings: DataSettings
) -> dict[str, list[Row]]:
    """The split in which near-duplicates are together."""
    try:
        return assign(resolved.files, resolved.groups, classes, settings)
    except InputError as error:
        raise InputError(
            "{}; near-duplicates share a group, unless {} is keep",
            error,
            Option("near_duplicates"),
        ) from None


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


def _fingerprint(
    results: Iterable[PartResult], settings: DataSettings, classes: Sequence[str]
) -> str:
    """A hash of all rows and positions: a sum, so that it does not depend on the parts."""
    total = sum(result.checksum for result in results) % 2**128
    text = f"{total:032x} {settings.image_size} {settings.channels} {'/'.join(classes)}"
    return hashlib.sha256(text.encode()).hexdigest()


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
