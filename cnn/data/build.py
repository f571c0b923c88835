"""Builds a data directory from listed images: group, split, decode on Spark, commit atomically."""

import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from cnn.core.commit import discarded, staged
from cnn.core.console import say
from cnn.core.directory import Directory
from cnn.core.errors import Error, InputError, Option
from cnn.data.blank_images import BlankImage, write_blank
from cnn.data.data_settings import DataSettings
from cnn.data.decoding.decode import Decoding
from cnn.data.decoding.heic import NEEDS_EXTRA, can_open_heic
from cnn.data.duplicates import digest_candidates, write_duplicates
from cnn.data.folders.stem_ties import find_stem_ties
from cnn.data.manifest import MANIFEST, Manifest, Source, read_manifest, write_manifest
from cnn.data.near.hashes import HASHES
from cnn.data.near.rearrange import rearrange
from cnn.data.near.resolution import (
    Resolved,
    contradictory,
    resolve,
    write_near_duplicates,
)
from cnn.data.near.search import find_near_duplicates
from cnn.data.overview import DATA_PAGE, Overview, Page, look_at
from cnn.data.parts import Part, PartResult, cut_parts
from cnn.data.rejects import add_kinds, check_rejects, kinds_of, write_rejects
from cnn.data.screening import Screened, screen
from cnn.data.sources.given_split import Images
from cnn.data.sources.listing import Listing
from cnn.data.sources.passed_over import most_common
from cnn.data.splits import TEST, TRAIN, VALIDATION, Row, TooFewGroups, assign
from cnn.data.stored_pictures import read_stored
from cnn.data.writing import as_error, count_images, decode_some, fingerprint, write_parts
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
    page: Page | None = None,
) -> Manifest:
    """Decodes the listed images in parallel and commits a data directory at `out`.

    Everything is written next to `out` and moved there when it is complete; it replaces a data
    directory that was there. `page` makes its page. Raises Error, and leaves nothing behind, if too
    many files are rejected.
    """
    place = staged(out, MANIFEST)
    work = _make(
        *(spark, images, place, settings, listing, source), sample=sample, assumptions=assumptions
    )
    with work as (staging, overview):
        if page is not None:
            staging.write(DATA_PAGE, page(overview).encode())
        write_manifest(staging, overview.manifest)
    return overview.manifest


def check_dataset(
    spark: "SparkSession",
    images: Images,
    out: Directory,
    settings: DataSettings,
    listing: Listing,
    *,
    source: Source,
    page: Page,
    sample: bool = False,
    assumptions: Sequence[str] = (),
) -> tuple[Overview, str]:
    """Does what `make_dataset` does, but leaves `out` as it is. Too many rejects are no error here.

    What it writes, next to `out`, is removed. Returns what it found, and its page.
    """
    work = _make(
        *(spark, images, discarded(out), settings, listing, source),
        sample=sample,
        assumptions=assumptions,
        strict=False,
    )
    with work as (_, overview):
        return overview, page(overview)


class _Plan(NamedTuple):
    """Which files become rows of which part, as far as that is known before they are decoded."""

    screened: Screened
    split: dict[str, list[Row]]
    parts: list[Part]
    # What was concluded about files with equal names.
    seen: Sequence[str]

    @property
    def validated(self) -> bool:
        """Whether a validation set is given."""
        return any(file.part == VALIDATION for file in self.screened.files)


@contextmanager
def _make(
    spark: "SparkSession",
    images: Images,
    place: AbstractContextManager[Directory],
    settings: DataSettings,
    listing: Listing,
    source: Source,
    *,
    sample: bool,
    assumptions: Sequence[str],
    strict: bool = True,
) -> Iterator[tuple[Directory, Overview]]:
    """A data directory at a place, complete but for its page and its manifest, and what is in it.

    Raises Error if too many files are rejected, if it is `strict`.
    """
    started = time.monotonic()
    wait_for_executors(spark.sparkContext)
    plan = _plan(spark, images, settings, listing)
    with place as staging:
        for name in (TRAIN, TEST):
            staging.sub(name).create()
        with as_error():
            first, value_range = write_parts(spark, images, plan.parts, staging, settings)
        how = settings.decoding(value_range)
        unread = [reject for result in first for reject in result.rejects]
        rejected = [*plan.screened.contradictory, *listing.rejects, *unread]
        kinds = kinds_of(rejected)
        if listing.absent is not None:
            kinds = add_kinds(kinds, listing.absent.kinds)
            with as_error():
                listing.absent.write(staging)
        too_many = check_rejects(kinds, listing.listed, settings)
        if strict and too_many is not None:
            raise too_many
        resolved, split, results = _resolve(
            spark, staging, plan, first, how, settings, listing.classes
        )
        # What is a reject already, because it cannot be read, is not one twice.
        known = {path for path, _ in rejected}
        withheld = [*plan.screened.withheld, *(r for r in resolved.withheld if r[0] not in known)]
        left_out = [*withheld, *(r for r in resolved.dropped if r[0] not in known)]
        kinds = add_kinds(kinds, kinds_of(left_out))
        rejected += left_out
        write_rejects(staging, rejected)
        write_duplicates(staging, resolved.duplicates)
        write_near_duplicates(staging, resolved.near)
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
            counts=count_images(results, listing.classes),
            groups=len(set(resolved.groups)),
            duplicates=len(resolved.duplicates),
            listed=listing.listed,
            rejects=sum(kind.number for kind in kinds.values()),
            withheld=len(withheld),
            near_duplicates=len(resolved.near),
            near_contradictions=len(contradictory(resolved.near)),
            reasons={name: kind.number for name, kind in kinds.items()},
            ignored=listing.ignored,
            table=listing.table,
            passed_over=most_common(listing.passed_over),
            blank=len(blank),
            value_range=value_range,
            settings=settings,
            validation="given" if plan.validated else None,
            assumptions=(*assumptions, *plan.seen),
            source=source,
            sample=sample,
            inputs=listing.inputs,
            fingerprint=fingerprint(results, settings, listing.classes),
            seconds=round(time.monotonic() - started, 3),
        )
        rows = sum(manifest.total(name) for name in (TRAIN, TEST))
        missing = listing.listed - manifest.rejects - rows
        if missing:
            raise Error(f"internal error: {missing} files unaccounted for")
        overview = Overview(
            manifest,
            *look_at(first, plan.split, split[TRAIN], listing.classes, unread=known),
            blank=sorted(blank),
            duplicates=resolved.duplicates,
            near=resolved.near,
            rejects=sorted(rejected),
            kinds=kinds,
            stored=partial(read_stored, staging, how),
            decode=partial(decode_some, spark, images, how),
            too_many=too_many,
        )
        with as_error():
            yield staging, overview


def _plan(spark: "SparkSession", images: Images, settings: DataSettings, listing: Listing) -> _Plan:
    with as_error():
        digests = digest_candidates(
            listing.files, lambda files, whole: images.digests(spark, files, whole)
        )
        ties, seen = find_stem_ties(
            listing.files, settings, lambda files: images.thumbnails(spark, files)
        )
    for line in seen:
        say(line)
    screened = screen(listing.files, digests, settings, ties)
    split = assign(screened.files, screened.groups, listing.classes, settings)
    sizes = {file.path: file.size for file in screened.files}
    # An official test set is read after the training images, and each must end with short parts.
    apart = [split] if settings.test_images is None else [{name: split[name]} for name in split]
    cores = spark.sparkContext.defaultParallelism
    parts = [part for rows in apart for part in cut_parts(rows, sizes, settings, cores)]
    return _Plan(screened, split, parts, seen)


def _resolve(
    spark: "SparkSession",
    staging: Directory,
    plan: _Plan,
    results: list[PartResult],
    how: Decoding,
    settings: DataSettings,
    classes: Sequence[str],
) -> tuple[Resolved, dict[str, list[Row]], list[PartResult]]:
    """Finds near-duplicates; if they change the split, the parts are written in another order."""
    screened, split = plan.screened, plan.split
    with as_error():
        copies = {path for path, _ in screened.duplicates}
        found = find_near_duplicates(spark, staging, plan.parts, how, copies)
        resolved = resolve(screened, found, settings)
        if resolved.files != screened.files or resolved.groups != screened.groups:
            try:
                split = assign(resolved.files, resolved.groups, classes, settings)
            except TooFewGroups as error:
                raise InputError(
                    "{}; near-duplicates share a group, unless {} is keep",
                    error,
                    Option("near_duplicates"),
                ) from None
            results = rearrange(spark, staging, plan.parts, results, split, settings)
        staging.sub(HASHES).remove()
    return resolved, split, results


def existing_dataset(out: Directory, inputs: str) -> Manifest | None:
    """The data set at `out` if it was made from the same inputs and settings.

    It is to be made again if it lacks images that can be read by now.
    """
    if not out.exists(MANIFEST):
        return None
    try:
        manifest = read_manifest(out)
    except InputError:
        return None
    if NEEDS_EXTRA in manifest.reasons and can_open_heic():
        return None
    return manifest if manifest.inputs == inputs else None
