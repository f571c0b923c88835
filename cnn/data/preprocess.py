"""Preprocesses images from a folder, a URI, Kaggle or the sample into a data directory."""

import hashlib
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cnn.core.commit import beside, check_out, claim, clear_away
from cnn.core.console import say
from cnn.core.directory import Directory, check_uri
from cnn.core.errors import InputError, Option
from cnn.data.build import check_dataset, existing_dataset, make_dataset
from cnn.data.checked import write_checked
from cnn.data.data_set import DataSet
from cnn.data.data_settings import DataSettings
from cnn.data.folders.class_names import describe_alike
from cnn.data.folders.folder_splits import split_word
from cnn.data.folders.layout_check import Suggest, check_layout
from cnn.data.labels.corrections import Corrections, read_corrections
from cnn.data.labels.listing import LabelledImages, find_labelled
from cnn.data.labels.table import folder_of
from cnn.data.manifest import MANIFEST, Source, read_manifest
from cnn.data.overview import Page
from cnn.data.screening import Crossing
from cnn.data.sources.folder import FolderSource
from cnn.data.sources.given_split import Images, images_at
from cnn.data.sources.kaggle import fetch_kaggle
from cnn.data.sources.listing import Gathered, Listing, inputs_of, new_names
from cnn.data.sources.sample import write_sample
from cnn.data.sources.source import ImageSource, needs_spark
from cnn.data.splits import TooFewGroups
from cnn.settings.cli_defaults import DOWNLOADS, SAMPLE_PAIRS
from cnn.settings.validation import validate

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

SAMPLE = Source(name="sample data set, drawn by cnn/data/sources/sample.py", licence="Apache-2.0")


@dataclass(frozen=True)
class Origin:
    """Where images come from: a path or a URI, Kaggle, or the sample if neither is given.

    `suggest` writes the user's command or call with some settings changed, for error messages.
    """

    suggest: Suggest

    images: str | None = None
    kaggle: str | None = None
    download_dir: Path = DOWNLOADS
    pairs: int = SAMPLE_PAIRS


def data_settings(given: Mapping[str, Any]) -> DataSettings:
    """Validates the settings that the user gave; `given` has no others. Raises InputError."""
    tests = given.get("test_images")
    if tests is not None and "test_fraction" in given:
        raise InputError(
            "{} cannot be combined with {}, which provides the test split",
            Option("test_fraction"),
            Option("test_images"),
        )
    if isinstance(tests, str):
        check_uri(tests)
    for key in ("group_regex", "class_regex"):
        pattern = given.get(key)
        if isinstance(pattern, str):
            try:
                re.compile(pattern)
            except re.error as error:
                raise InputError(
                    "{} must be a regular expression, but got {!r}: {}", Option(key), pattern, error
                ) from None
    return validate(DataSettings, given, Option)


def preprocess(
    session: AbstractContextManager["SparkSession"],
    origin: Origin,
    out: Directory,
    settings: DataSettings,
    *,
    overwrite: bool = False,
    page: Page | None = None,
    check: bool = False,
) -> "DataSet":
    """Makes a data directory at `out`, or finds the requested one there; `page` makes its page.

    With `check`, only the page is written, beside `out`, and the result is a Checked.
    Invalid input is reported before `session` is entered, unless only Spark can reach the images.
    Raises Error.
    """
    work = _Preprocessing(session, out, settings, overwrite, origin.suggest, page, check)
    if origin.kaggle is not None:
        folder, source = fetch_kaggle(origin.kaggle, origin.download_dir)
        made = work.from_place(str(folder), source, own=False)
    elif origin.images is not None:
        made = work.from_place(origin.images, _source(origin.images))
    elif settings.labels is not None:
        # Paths in the table are relative to its folder.
        place = folder_of(settings.labels)
        made = work.from_place(place, _source(place), own=False)
    elif settings.test_images is not None:
        raise InputError(
            "{} must be used with {} or {}",
            Option("test_images"),
            Option("images"),
            Option("kaggle"),
        )
    else:
        made = work.from_sample(origin.pairs)
    return work.checked[0] if check else DataSet(out.uri, read_manifest(out), made)


def _source(images: str) -> Source:
    if images.startswith("s3://"):
        return Source(name=Directory(images).uri)
    if "://" in images:
        return Source(name=images)
    path = Path(images).resolve()
    # For a folder such as "train", the name alone would say nothing.
    return Source(name="/".join(path.parts[-2:]) if split_word(path.name) else path.name)


@dataclass(frozen=True)
class _Preprocessing:
    """One call of `preprocess`; its methods return whether they made the data set."""

    session: AbstractContextManager["SparkSession"]
    out: Directory
    settings: DataSettings
    overwrite: bool
    suggest: Suggest
    page: Page | None
    check: bool
    # The result of a check.
    checked: list[DataSet] = field(default_factory=list)

    def from_sample(self, pairs: int) -> bool:
        if pairs < 1:
            raise InputError("{} must be 1 or more, but got {}", Option("sample"), pairs)
        corrections = read_corrections(self.settings.relabel)
        identity = self.settings.identity(without=frozenset({"map_labels", "relabel"}))
        text = f"sample {pairs} {identity}{new_names(self.settings)}"
        inputs = corrections.inputs(hashlib.sha256(text.encode()).hexdigest())
        with claim(self.out, MANIFEST):
            if not self._must_make(inputs):
                return False
            print(f"drawing the sample: {pairs} faces and {pairs} comics", flush=True)
            with self._drawing_folder() as root:
                write_sample(root, pairs, seed=self.settings.seed)
                images = FolderSource(root)
                listing = corrections.apply(images.find(self.settings))._replace(inputs=inputs)
                with self.session as spark:
                    self._make(spark, images, listing, SAMPLE)
        return True

    @contextmanager
    def _drawing_folder(self) -> Iterator[Path]:
        """A temporary folder for drawn images.

        It is next to the data set, so that executors on other machines can read it too, or on
        this machine if the data set is on an object store.
        """
        images = beside(self.out, "partial")
        if images.local_path is None:
            with tempfile.TemporaryDirectory(prefix="cnn-sample-") as folder:
                yield Path(folder)
            return
        try:
            yield images.local_path
        finally:
            clear_away(images)

    def from_place(self, place: str, source: Source, *, own: bool = True) -> bool:
        """Preprocesses the images at a place; `own` is whether the user named the place."""
        places = (
            [place] if self.settings.test_images is None else [place, self.settings.test_images]
        )
        labels = [] if self.settings.labels is None else [self.settings.labels]
        if not any(map(needs_spark, places + labels)):
            return self._read(images_at(places), places, source, own=own)
        # Spark is needed even to list the images.
        with self.session as spark:
            work = replace(self, session=nullcontext(spark))
            return work._read(images_at(places, spark), places, source, own=own, spark=spark)

    def _read(
        self,
        images: Images,
        places: Sequence[str],
        source: Source,
        *,
        own: bool,
        spark: "SparkSession | None" = None,
    ) -> bool:
        corrections = read_corrections(self.settings.relabel)
        if isinstance(images, ImageSource) and self.settings.labels is not None:
            labelled = find_labelled(images, self.settings, self.suggest, spark)
            return self._read_labelled(images, labelled, corrections, source)
        assumptions: list[str] = []

        def check(found: Gathered) -> None:
            # A data set that is there shows that its user has answered.
            inputs = corrections.inputs(inputs_of(found, self.settings))
            if existing_dataset(self.out, inputs) is None:
                assumptions.extend(
                    check_layout(found, places[0], self.settings, self.suggest, own=own)
                )

        listing = images.find(self.settings, check)
        listing = corrections.apply(listing)
        with claim(self.out, MANIFEST):
            wanted = self._must_make(listing.inputs)
            if wanted:
                with self.session as spark:
                    self._make(spark, images, listing, source, assumptions)
        return wanted

    def _read_labelled(
        self, images: Images, found: LabelledImages, corrections: Corrections, source: Source
    ) -> bool:
        """Preprocesses the images that a table of labels names."""
        work = replace(self, settings=found.settings)
        with claim(self.out, MANIFEST):
            wanted = self._must_make(corrections.inputs(found.inputs))
            if wanted:
                with self.session as session, found.listing(session) as listing:
                    work._make(session, images, corrections.apply(listing), source)
        return wanted

    def _must_make(self, inputs: str) -> bool:
        """Whether the data set must be made; raises InputError if a different one is there."""
        if self.check:
            return True
        if existing_dataset(self.out, inputs) is not None:
            print(
                f"the data set in {self.out.uri} was already made from these images and settings: "
                "nothing to do"
            )
            return False
        check_out(self.out, overwrite=self.overwrite, marker=MANIFEST, kind="a data set")
        return True

    def _make(
        self,
        spark: "SparkSession",
        images: Images,
        listing: Listing,
        source: Source,
        assumptions: Sequence[str] = (),
    ) -> None:
        listed = len(listing.files) + len(listing.rejects)
        say(f"{listed:,} files of {', '.join(listing.classes)}")
        for line in (*assumptions, describe_alike(listing.classes, self.suggest)):
            if line is not None:
                say(line)
        try:
            self._write(spark, images, listing, source, assumptions)
        except Crossing as error:
            error.add_note(self.suggest({"folders": "given,move-groups"}))
            raise
        except TooFewGroups as error:
            raise error.with_commands(listing.classes, self.settings, self.suggest) from None

    def _write(
        self,
        spark: "SparkSession",
        images: Images,
        listing: Listing,
        source: Source,
        assumptions: Sequence[str],
    ) -> None:
        known: dict[str, Any] = {
            "source": source,
            "sample": source is SAMPLE,
            "assumptions": assumptions,
            "page": self.page,
        }
        if not self.check:
            make_dataset(spark, images, self.out, self.settings, listing, **known)
            return
        found, text = check_dataset(spark, images, self.out, self.settings, listing, **known)
        self.checked.append(write_checked(self.out, found, text))
