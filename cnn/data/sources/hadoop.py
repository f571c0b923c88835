"""Reads images through Spark from file systems that only Spark can reach (hdfs://, s3a://, ...)."""

import pickle
import re
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

import pyarrow as pa

from cnn.core.directory import Directory, check_uri
from cnn.core.errors import InputError
from cnn.data.decoding.decode import Decoding, Unreadable, decode_and_look
from cnn.data.decoding.deep_images import Values
from cnn.data.decoding.originals import Originals
from cnn.data.duplicates import Digests
from cnn.data.parts import Decoded, Part, PartResult, decoded, undecoded, write_part
from cnn.data.sources.listing import ALL, Folder, Found, Subset, is_junk
from cnn.data.sources.source import ImageSource
from cnn.data.splits import ImageFile, Row
from cnn.spark.interruptible import collected

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, DataFrameReader, SparkSession

# Rows are large, so Arrow batches are limited by bytes.
_BATCH_BYTES = str(32 << 20)
_DECODED = (
    "path string, pixels binary, reason string, is_blank boolean, values array<double>, "
    "original binary"
)
# The reason for files that Spark skipped because it is configured to skip unreadable files.
UNREAD = "unreadable: Spark could not read it"
_PATTERN = re.compile(r"[\\{}\[\]*?]")
_HIDDEN = "hidden from Spark, whose readers skip names that begin with _"


class SparkSource(ImageSource):
    """Images under a URI, listed and read by Spark's binaryFile source.

    Each task decodes the files that Spark reads on its executor. Only the pixels go through a
    shuffle to the tasks that write them in order.
    """

    def __init__(self, spark: "SparkSession", place: str, subset: Subset = ALL) -> None:
        """Raises InputError if Spark cannot reach the URI's file system."""
        check_uri(place)
        jvm: Any = spark.sparkContext._jvm
        java: Any = spark.sparkContext._jsc
        from py4j.protocol import Py4JJavaError

        self._path = jvm.org.apache.hadoop.fs.Path
        self._strings = jvm.org.apache.hadoop.util.StringUtils
        self._filter = jvm.org.apache.hadoop.fs.GlobFilter
        path = self._path(place)
        try:
            self._system = path.getFileSystem(java.hadoopConfiguration())
            exists = self._system.exists(path)
            is_folder = exists and self._system.getFileStatus(path).isDirectory()
        except Py4JJavaError as error:
            raise InputError(
                "{} must be a path or a URI that Spark can read, but got {}: {}",
                subset.option,
                place,
                error.java_exception.getMessage(),
            ) from None
        super().__init__(place, subset, is_folder=is_folder, is_file=exists and not is_folder)
        self._spark = spark
        self._place: str = self._system.makeQualified(path).toString().rstrip("/")
        self._root = self._place.rpartition("/")[0] if self.is_file else self._place

    def opener(self) -> Callable[[bytes], bytes]:
        return lambda content: content

    def frame(
        self, spark: "SparkSession", files: Sequence[ImageFile], tasks: int | None = None
    ) -> "DataFrame":
        """Columns `path` and `item`, the bytes of a file; Spark chooses the number of tasks."""
        from pyspark.sql.functions import broadcast

        spark.conf.set("spark.sql.execution.arrow.maxBytesPerBatch", _BATCH_BYTES)
        names = {"uri": [self._uri(f.path) for f in files], "name": [f.path for f in files]}
        wanted = spark.createDataFrame(pa.table(names))
        found = self._files().withColumnRenamed("path", "uri").join(broadcast(wanted), "uri")
        return found.selectExpr("name AS path", "content AS item")

    def digests(self, spark: "SparkSession", files: Sequence[ImageFile], whole: bool) -> Digests:
        if not whole or not files:
            # Spark always reads whole files: read them only once.
            return [""] * len(files)
        from pyspark.sql.functions import sha2

        found = self.frame(spark, files).select("path", sha2("item", 256))
        digests = dict(map(tuple, collected(found)))
        return [digests.get(file.path) for file in files]

    def write(
        self,
        spark: "SparkSession",
        parts: Sequence[Part],
        staging: Directory,
        how: Decoding,
        *,
        look: bool = False,
    ) -> list[PartResult]:
        from pyspark.sql.functions import broadcast

        spark.conf.set("spark.sql.execution.arrow.maxBytesPerBatch", _BATCH_BYTES)
        places = spark.createDataFrame(self._places(parts))
        files = self._files()
        if not look:
            # When parts are written again, only some of all files are needed.
            files = files.join(broadcast(places.select("path")), "path", "left_semi")
        outcomes = files.mapInArrow(_decoder(how, look), _DECODED)
        placed = (
            outcomes.join(broadcast(places), "path")
            .repartition(min(len(parts), 4 * spark.sparkContext.defaultParallelism), "part")
            .sortWithinPartitions("part", "place")
        )
        written = collected(placed.mapInArrow(_writer(staging, how), "part int, result binary"))
        results = {part: pickle.loads(result) for part, result in written}
        return [_part_result(part, *results.get(i, (None, ()))) for i, part in enumerate(parts)]

    def decode_some(
        self, spark: "SparkSession", paths: Sequence[str], how: Decoding
    ) -> dict[str, bytes]:
        # Spark would read a name with such characters as a pattern.
        uris = {self._uri(path): path for path in paths if not _PATTERN.search(path)}
        if not uris:
            return {}
        frame = self._reader().load(list(uris)).mapInArrow(_decoder(how, False), _DECODED)
        found = collected(frame.where("pixels IS NOT NULL").select("path", "pixels"))
        return {uris[uri]: bytes(pixels) for uri, pixels in found if uri in uris}

    def _reader(self) -> "DataFrameReader":
        reader = self._spark.read.format("binaryFile").option("recursiveFileLookup", "true")
        for option in ("ignoreMissingFiles", "ignoreCorruptFiles"):
            # Files that cannot be read are found later because they are missing.
            reader = reader.option(option, "true")
        return reader

    def _files(self) -> "DataFrame":
        frame = self._reader().load(self._place)
        if self.subset.without is not None:
            above = f"{self._root}/{self.subset.without}/"
            frame = frame.where(~frame["path"].startswith(above))
        return frame

    def _uri(self, path: str) -> str:
        return f"{self._root}/{path.removeprefix(self.subset.prefix)}"

    def folders(self) -> Iterator[Folder]:
        frame = self._files()
        table = frame.select("path", "length", "modificationTime").toArrow()
        times = table["modificationTime"].cast(pa.int64()).to_pylist()
        names = [path.removeprefix(self._root).lstrip("/") for path in table["path"].to_pylist()]
        found = list(zip(names, table["length"].to_pylist(), times, strict=True))
        files: dict[str, list[Found]] = defaultdict(list)
        for path, size, modified in found:
            files[path.rpartition("/")[0]].append(Found(path, size, modified, 0))
        # Spark lists empty files but does not return them.
        for path in set(filter(self.subset.has, self._listed(frame))) - set(names):
            files[path.rpartition("/")[0]].append(Found(path, 0, 0, 0, "empty file"))
        folders = {""}
        for folder in files:
            while folder not in folders:
                folders.add(folder)
                folder = folder.rpartition("/")[0]
        # Folders without a file that Spark returns.
        for folder in sorted(folders - set(files)):
            folders |= {
                path
                for name, is_folder in self._names(folder, "*")
                if is_folder and not name.startswith(("_", "."))
                if self.subset.has(path := f"{folder}/{name}".lstrip("/"))
            }
        holding = {folder.rpartition("/")[0] for folder in folders if folder}
        for folder in sorted(folders):
            yield self._folder(folder, files.get(folder, []), folder in holding)

    def _listed(self, frame: "DataFrame") -> Iterator[str]:
        """All paths that Spark has listed, fetched as one string: one by one takes minutes."""
        listed: Any = frame._jdf
        text = self._strings.join("\0", listed.inputFiles())
        above = self._path(self._root).toUri().getPath()
        for uri in text.split("\0") if text else ():
            yield unquote(urlsplit(uri).path).removeprefix(above).lstrip("/")

    def _folder(self, folder: str, files: Sequence[Found], holds_folders: bool) -> Folder:
        found = [file for file in files if not is_junk(file.path.rpartition("/")[2])]
        ignored = len(files) - len(found)
        for name, _ in self._names(folder, "{_,.}*"):
            if is_junk(name):
                ignored += 1
            else:
                found.append(Found(f"{folder}/{name}".lstrip("/"), 0, 0, 0, _HIDDEN))
        name = folder.rpartition("/")[2] or self._root.rpartition("/")[2]
        return Folder(name, sorted(found), ignored, holds_folders or not folder, folder)

    def _names(self, folder: str, pattern: str) -> list[tuple[str, bool]]:
        """Names in a folder that match a glob, each with whether it is a folder."""
        listed = self._system.listStatus(
            self._path(f"{self._root}/{folder}"), self._filter(pattern)
        )
        return [(status.getPath().getName(), status.isDirectory()) for status in listed]

    def _places(self, parts: Sequence[Part]) -> pa.Table:
        rows = [
            (self._uri(row.path), row.path, i, part.split, part.number, part.start + n, *row[1:])
            for i, part in enumerate(parts)
            for n, row in enumerate(part.rows)
        ]
        names = ["path", "name", "part", "split", "number", "place", *Row._fields[1:]]
        types = [pa.string(), pa.string(), pa.int32(), pa.string(), *[pa.int32()] * 3]
        fields = list(zip(names, [*types, pa.string(), pa.int32(), pa.float64()], strict=True))
        columns = zip(*rows, strict=True)
        return pa.table(
            [pa.array(column, kind) for column, (_, kind) in zip(columns, fields, strict=True)],
            pa.schema(fields),
        )


def _decoder(how: Decoding, look: bool) -> Any:
    nothing = Row("", 0, "", 0)

    def run(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            found: list[Decoded] = []
            for content in batch.column("content"):
                try:
                    found.append(decoded(0, nothing, decode_and_look(content.as_py(), how)))
                except Unreadable as reason:
                    found.append(undecoded(0, nothing, reason, look=look))
            arrays = [
                batch.column("path"),
                pa.array([one.pixels for one in found], pa.binary()),
                pa.array([one.reason for one in found], pa.string()),
                pa.array([one.is_blank for one in found], pa.bool_()),
                pa.array([_numbers(one.values) for one in found], pa.list_(pa.float64())),
                pa.array([pickle.dumps(one.original) for one in found], pa.binary()),
            ]
            yield pa.RecordBatch.from_arrays(
                arrays, ["path", "pixels", "reason", "is_blank", "values", "original"]
            )

    return run


def _numbers(values: Values | None) -> list[float] | None:
    return None if values is None else list(map(float, values))


def _writer(staging: Directory, how: Decoding) -> Any:
    def run(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        rows = (row for batch in batches for row in batch.to_pylist())
        for (part, split, number), group in groupby(rows, itemgetter("part", "split", "number")):
            seen: list[int] = []
            result = write_part(staging, split, number, _decoded(group, seen), how)
            yield pa.RecordBatch.from_pydict(
                {"part": pa.array([part], pa.int32()), "result": [pickle.dumps((result, seen))]}
            )

    return run


def _decoded(rows: Iterable[dict[str, Any]], seen: list[int]) -> Iterator[Decoded]:
    for row in rows:
        seen.append(row["place"])
        place = Row(row["name"], *(row[field] for field in Row._fields[1:]))
        found = row["values"]
        values = None if found is None else Values(found[0], found[1], bool(found[2]))
        yield Decoded(
            row["place"],
            place,
            row["pixels"],
            row["reason"],
            row["is_blank"],
            values=values,
            original=pickle.loads(row["original"]),
        )


def _part_result(part: Part, result: PartResult | None, seen: Collection[int]) -> PartResult:
    """The result that a task returned for a part; files that Spark could not read are rejects."""
    if result is None:
        result = PartResult(part.split, [], {}, 0, [], [], Originals().pack())
    known = set(seen)
    unread = [
        (row.path, UNREAD)
        for place, row in enumerate(part.rows, start=part.start)
        if place not in known
    ]
    return result._replace(rejects=[*result.rejects, *unread])
