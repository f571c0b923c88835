"""The listing of a data set whose labels are in a table: which listed file is an image of what."""

import hashlib
import posixpath
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cnn.core.console import say
from cnn.core.errors import InputError, Option
from cnn.data.data_settings import NO_COLUMN, DataSettings
from cnn.data.folders.class_names import check_map, merger
from cnn.data.folders.class_rule import ClassRule, exclusion
from cnn.data.folders.layout_check import Suggest
from cnn.data.labels.columns import LABELS, Columns, choose_columns
from cnn.data.labels.join import Joined, different_values, joined
from cnn.data.labels.rows import Reading, places, split_word_of
from cnn.data.labels.table import LabelTable, folder_of, open_table
from cnn.data.manifest import TableCounts
from cnn.data.rejects import Reject, check_rejects
from cnn.data.sources.listing import Gathered, Listing, inputs_of
from cnn.data.sources.source import ImageSource
from cnn.data.splits import ImageFile

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


def describe_table(counts: TableCounts) -> str:
    """A line on what became of the rows of a table of labels."""
    line = f"{counts.rows:,} rows of labels, {counts.not_named:,} files not in the table"
    return line + (f", {counts.other_labels:,} rows of other labels" if counts.other_labels else "")


_CHUNK = 1 << 16
# More values than this in a column of labels are no classes.
MOST_CLASSES = 100_000


@dataclass(frozen=True)
class LabelledImages:
    """Listed files and the table that labels them.

    Args:
        found: The listed files; their classes do not count.
        place: The images' folder: a path or URI.
        table: The table of labels.
        columns: Its columns.
        settings: The settings of the data set, with the columns that were chosen.
        suggest: Writes the user's command with some settings changed.
    """

    found: Gathered
    place: str
    table: LabelTable
    columns: Columns
    settings: DataSettings
    suggest: Suggest

    @property
    def inputs(self) -> str:
        """A hash of all that the data set depends on."""
        text = f"{inputs_of(self.found, self.settings)} {self.table.stats}"
        return hashlib.sha256(text.encode()).hexdigest()

    @contextmanager
    def listing(self, spark: "SparkSession") -> Iterator[Listing]:
        """Joins the files with the table; rows that name no file stay in Spark until the end.

        Raises:
            InputError: The table labels no images, or images of too few classes, or its column for
                the split names no parts of a split.
            Error: The table is damaged, or more of its rows are rejects than the settings allow.
        """
        say(f"{self.table.place}: {self.columns}")
        words: frozenset[str] = frozenset()
        if self.columns.split is not None:
            words = self._split_words(spark, self.columns.split)
        if self.settings.map_labels is not None:
            names: Sequence[str] = self.columns.one_hot
            if self.columns.label is not None:
                names = different_values(spark, self.table, self.columns.label)
            check_map(self.settings, names)
        paths = [file.path for file in self.found.files]
        # Files that cannot be opened are rejects if the table names them.
        paths += [path for path, _ in self.found.rejects]
        lie = places(self.place, folder_of(self.table.place))
        own = None
        if lie.inside is not None:
            own = posixpath.join(lie.inside, self.table.place.rstrip("/").rpartition("/")[2])
        reading = Reading(self.columns, merger(self.settings), lie, words)
        tables = paths.count(own) if own else 0
        with joined(spark, paths, self.table, reading) as rows:
            listing = self._listing(rows, tables)
            # What belongs to listed files is in the listing now.
            del rows, paths
            yield listing

    def _split_words(self, spark: "SparkSession", column: str) -> frozenset[str]:
        """A column's words for parts of a split. Raises InputError if there are only others."""
        values = different_values(spark, self.table, column)
        words = frozenset(filter(None, map(split_word_of, values)))
        if words or not values:
            return words
        none = {"split_column": NO_COLUMN}
        together = {**none, "group_column": column, "group": None, "group_regex": None}
        raise InputError(
            "{} must be a column that says train, validation or test, but {} of {} says "
            "{}; to draw a new split: {}; to keep images of the same value together as well: {}",
            Option("split_column"),
            column,
            self.table.place,
            ", ".join(values[:5]) + (", ..." if len(values) > 5 else ""),
            self.suggest(none),
            self.suggest(together),
        )

    def _listing(self, rows: Joined, own: int) -> Listing:
        """The listing; `own` is how many of the files are the table itself."""
        files, rejects, other = self._files(rows)
        unnamed = len(self.found.files) + len(self.found.rejects) - len(rows.named)
        listed = len(files) + len(rejects) + rows.absent.total
        if len(rows.named) == 0:
            raise InputError(
                "{} must name images in {}, but no row of {} does; its column {} has {!r}, and "
                "there is {!r}",
                LABELS,
                self.place,
                self.table.place,
                self.columns.path,
                min((kind.example for kind in rows.absent.kinds.values()), default=""),
                min((file.path for file in self.found.files), default=""),
            )
        too_many = check_rejects(rows.absent.kinds, listed, self.settings)
        if too_many is not None:
            raise too_many
        if "test_fraction" in self.settings.model_fields_set and any(one.tested for one in files):
            raise InputError(
                "{} cannot be combined with test images in the column {} of {}",
                Option("test_fraction"),
                self.columns.split,
                self.table.place,
            )
        classes = self._classes(files)
        return Listing(
            files,
            classes,
            rejects,
            self.found.ignored + unnamed,
            self.inputs,
            self.found.passed_over,
            rows.absent,
            TableCounts(rows=rows.rows, other_labels=other, not_named=unnamed - own),
        )

    def _files(self, rows: Joined) -> tuple[list[ImageFile], list[Reject], int]:
        """The images, the rejects among the files, and the number of rows of other labels."""
        files: list[ImageFile] = []
        rejects: list[Reject] = []
        other = 0
        wanted = None if self.settings.classes is None else set(self.settings.classes)
        # One text for each label, part and class, not one for each image.
        texts: dict[str, str] = {}
        for batch in rows.named.to_batches(max_chunksize=_CHUNK):
            columns = (column.to_pylist() for column in batch.columns)
            for index, count, label, group, part, weight, why in zip(*columns, strict=True):
                if index >= len(self.found.files):
                    rejects.append(self.found.rejects[index - len(self.found.files)])
                    continue
                file = self.found.files[index]
                if why is not None:
                    rejects.append((file.path, why))
                elif wanted is not None and label not in wanted:
                    other += count
                else:
                    files.append(
                        file._replace(
                            class_name=texts.setdefault(label, label),
                            part="" if part is None else texts.setdefault(part, part),
                            group=group,
                            weight=1.0 if weight is None else weight,
                        )
                    )
        return files, rejects, other

    def _classes(self, files: list[ImageFile]) -> tuple[str, ...]:
        counts = Counter(file.class_name for file in files)
        if len(counts) > MOST_CLASSES:
            raise InputError(
                "{} must be a column of classes, but {} of {} has more than {:,} different values",
                Option("label_column"),
                self.columns.label,
                self.table.place,
                MOST_CLASSES,
            )
        chosen = self.settings.classes
        if chosen is not None:
            for name in chosen:
                if name not in counts:
                    raise InputError(
                        "{} must name labels of images, but no image of {} has {!r}",
                        Option("classes"),
                        self.table.place,
                        name,
                    )
            return chosen
        if len(counts) < 2:
            raise InputError(
                "{} must have at least two classes, but the images of {} have {}",
                LABELS,
                self.table.place,
                f"one: {next(iter(counts))!r}" if counts else "none",
            )
        numbers = all(name.isascii() and name.isdigit() for name in counts)
        return tuple(sorted(counts, key=lambda name: (int(name) if numbers else 0, name)))


def find_labelled(
    images: ImageSource,
    settings: DataSettings,
    suggest: Suggest,
    spark: "SparkSession | None" = None,
) -> LabelledImages:
    """Lists images and opens the table that labels them.

    Args:
        images: Where the images are.
        settings: The settings of the data set, which name the table.
        suggest: Writes the user's command with some settings changed.
        spark: The session; required if only Spark can reach the table.

    Raises:
        InputError: There are no images or no table, or its columns are not clear.
    """
    assert settings.labels is not None
    table = open_table(settings.labels, spark)
    columns = choose_columns(table.columns, settings.labels, settings)
    if settings.keeps_folders and columns.split is None:
        raise InputError(
            "{} {} cannot be combined with {}: name the column of {} that says which part an image "
            "is in with {}",
            Option("folders"),
            settings.folders,
            LABELS,
            settings.labels,
            Option("split_column"),
        )
    settings = settings.model_copy(update=columns.settings())
    found = images.gather(ClassRule(left_out=exclusion(settings.exclude)))
    return LabelledImages(found, images.place, table, columns, settings, suggest)
