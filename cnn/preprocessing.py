"""Images from a folder, a URI, Kaggle or the sample -> a data directory, in a given session."""

import hashlib
import re
import tempfile
import textwrap
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cnn.cli import say
from cnn.commit import beside, check_out, claim, clear_away
from cnn.dataset import Reject, describe_rejects, existing_dataset, make_dataset, read_rejects
from cnn.formats import plain
from cnn.hadoop import SparkReader
from cnn.listing import Listing
from cnn.manifest import MANIFEST, DataSettings, Manifest, Source, read_manifest
from cnn.readers import FileReader, Reader
from cnn.sample import write_sample
from cnn.settings import InputError, validate
from cnn.shown import data_html
from cnn.sources import fetch_kaggle
from cnn.splits import TEST, TRAIN
from cnn.storage import Directory, reachable
from cnn.store_images import StoreReader

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

SAMPLE = Source(name="sample data set, drawn by cnn/sample.py", licence="Apache-2.0")
SAMPLE_PAIRS = 240
DOWNLOADS = Path("downloads")


@dataclass(frozen=True)
class Origin:
    """Where images come from: a path or a URI, Kaggle, or where neither is given the sample."""

    images: str | None = None
    kaggle: str | None = None
    download_dir: Path = DOWNLOADS
    pairs: int = SAMPLE_PAIRS


def data_settings(given: Mapping[str, Any], name: Callable[[str], str]) -> DataSettings:
    """Validated settings; raises InputError, in which a key is called what `name` makes of it."""
    pattern = given.get("group_regex")
    if isinstance(pattern, str):
        try:
            re.compile(pattern)
        except re.error as error:
            raise InputError(
                f"{name('group_regex')} must be a regular expression, but got {pattern!r}: {error}"
            ) from None
    return validate(DataSettings, given, name)


def preprocess(
    session: AbstractContextManager["SparkSession"],
    origin: Origin,
    out: Directory,
    settings: DataSettings,
    *,
    overwrite: bool = False,
) -> "DataSet":
    """Makes a data directory at `out`, or finds there the very one that is asked for.

    What can be known to be wrong is said before `session` is entered, but for images that Spark
    alone can reach. Raises Error.
    """
    work = _Work(session, out, settings, overwrite)
    if origin.kaggle is not None:
        folder, source = fetch_kaggle(origin.kaggle, origin.download_dir)
        made = work.folder(folder, source)
    elif origin.images is None:
        made = work.sample(origin.pairs)
    elif origin.images.startswith("s3://"):
        made = work.store(reachable(origin.images))
    elif "://" in origin.images:
        made = work.uri(origin.images)
    else:
        folder = Path(origin.images)
        made = work.folder(folder, Source(name=folder.resolve().name))
    return DataSet(out.uri, read_manifest(out), made)


@dataclass(frozen=True)
class DataSet:
    """A data directory; printed, it says what became of every file that was listed."""

    path: str
    manifest: Manifest
    # Whether it was made just now, rather than found in place.
    new: bool = True

    def rejects(self) -> list[Reject]:
        """Path and reason of every file that became no row."""
        return read_rejects(Directory(self.path))

    def __str__(self) -> str:
        manifest = self.manifest
        width = max(len(name) for name in (*manifest.classes, "rejected"))
        lines = []
        for name in manifest.classes:
            train, test = (manifest.counts[split][name] for split in (TRAIN, TEST))
            lines.append(f"  {plain(name):{width}}  {train:>9,} train  {test:>9,} test")
        lines.append(f"  {'rejected':{width}}  {manifest.rejects:>9,}")
        kinds = describe_rejects(self.rejects())
        lines += [textwrap.indent(line, " " * (width + 6)) for line in kinds]
        ignored = f"  and {manifest.ignored:,} others ignored" if manifest.ignored else ""
        lines.append(f"  {'listed':{width}}  {manifest.listed:>9,}{ignored}")
        lines.append(f"{manifest.groups:,} groups, {manifest.duplicates:,} duplicates")
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        return data_html(self.path, self.manifest)


@dataclass(frozen=True)
class _Work:
    session: AbstractContextManager["SparkSession"]
    out: Directory
    settings: DataSettings
    overwrite: bool

    def sample(self, pairs: int) -> bool:
        if pairs < 1:
            raise InputError(f"--sample must be 1 or more, but got {pairs}")
        text = f"sample {pairs} {self.settings.model_dump_json()}"
        inputs = hashlib.sha256(text.encode()).hexdigest()
        with claim(self.out, MANIFEST):
            if not self._wanted(inputs):
                return False
            print(f"drawing the sample: {pairs} faces and {pairs} comics", flush=True)
            with self._room() as root:
                write_sample(root, pairs, seed=self.settings.seed)
                reader = FileReader(root)
                listing = reader.find(self.settings)._replace(inputs=inputs)
                with self.session as spark:
                    self._make(spark, reader, listing, SAMPLE)
        return True

    @contextmanager
    def _room(self) -> Iterator[Path]:
        """A folder for drawn images, which is gone afterwards.

        Beside the data set, where executors on other machines can see it as well; where the data
        set is on no file system it is this machine's own.
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

    def folder(self, folder: Path, source: Source) -> bool:
        return self._read(FileReader(folder), source)

    def store(self, root: Directory) -> bool:
        return self._read(StoreReader(root), Source(name=root.uri))

    def _read(self, reader: Reader, source: Source) -> bool:
        listing = reader.find(self.settings)
        with claim(self.out, MANIFEST):
            wanted = self._wanted(listing.inputs)
            if wanted:
                with self.session as spark:
                    self._make(spark, reader, listing, source)
        return wanted

    def uri(self, uri: str) -> bool:
        """Images that Spark alone can reach: it lists them as well."""
        with self.session as spark:
            reader = SparkReader(spark, uri)
            listing = reader.find(self.settings)
            with claim(self.out, MANIFEST):
                wanted = self._wanted(listing.inputs)
                if wanted:
                    self._make(spark, reader, listing, Source(name=uri))
        return wanted

    def _wanted(self, inputs: str) -> bool:
        """Whether this very data set is still to be made; raises InputError where one is there."""
        if existing_dataset(self.out, inputs) is not None:
            print(
                f"the data set in {self.out.uri} was made from these images and settings: "
                "nothing to do"
            )
            return False
        check_out(self.out, overwrite=self.overwrite, marker=MANIFEST, kind="a data set")
        return True

    def _make(
        self, spark: "SparkSession", reader: Reader, listing: Listing, source: Source
    ) -> None:
        listed = len(listing.files) + len(listing.rejects)
        say(f"{listed:,} files of {', '.join(listing.classes)}")
        make_dataset(
            spark,
            reader,
            self.out,
            self.settings,
            listing,
            source=source,
            sample=source is SAMPLE,
        )
