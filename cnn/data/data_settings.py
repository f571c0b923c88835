"""The settings of a data set: every flag of `jobs/preprocess.py` that decides what is in it."""

from typing import Annotated, Literal, NoReturn

from pydantic import BeforeValidator, Field, model_validator

from cnn.core.errors import InputError, Option
from cnn.data.decoding.backgrounds import Background, parse_background
from cnn.data.decoding.decode import Decoding, Fit
from cnn.data.decoding.deep_images import ValueRange
from cnn.data.decoding.deep_value_range import parse_range
from cnn.settings.validation import Frozen, as_tuple

# The side of a square image in pixels.
Side = Annotated[int, Field(ge=8, le=2048)]
AnyBackground = Annotated[Background, BeforeValidator(parse_background)]
AnyRange = Annotated[ValueRange | None, BeforeValidator(parse_range)]


# Settings that the first data sets did not have.
_LATER = (
    *("class_level", "class_regex", "exclude", "lower_labels", "map_labels", "labels", "relabel"),
    *("path_column", "label_column", "label_columns", "group_column", "split_column"),
    "weight_column",
)


# The value of a column setting if the table has no such column, or it is not to be used.
NO_COLUMN = "none"


class DataSettings(Frozen):
    """Every setting that preprocessing used."""

    image_size: Side = 128
    color_mode: Literal["grayscale", "rgb"] = "grayscale"
    classes: tuple[str, ...] | None = None
    # Which folder above a file is its class; 1 is the one that directly holds it.
    class_level: Annotated[int, Field(ge=1, le=64)] = 1
    # Finds the class in the path instead: its first group, or the whole match.
    class_regex: str | None = None
    # Globs of files and folders that are left out.
    exclude: Annotated[tuple[str, ...], BeforeValidator(as_tuple)] = ()
    # Whether names of classes are merged that differ only in case, spaces or Unicode form.
    lower_labels: bool = False
    # A CSV file with the columns from and to, which renames classes.
    map_labels: str | None = None
    test_fraction: Annotated[float, Field(gt=0, lt=1)] = 0.2
    group: Literal["auto", "stem", "none"] = "auto"
    group_regex: str | None = None
    split: Literal["exact", "stable"] = "exact"
    # What to do with images that show the same picture.
    near_duplicates: Literal["group", "keep", "drop"] = "group"
    # What to do with folders whose meaning is not clear, such as those that look like a split.
    folders: Literal["ask", "ignore", "given", "given,move-groups"] = "ask"
    # The folder of an official test set, as named; test_fraction is not used then.
    test_images: str | None = None
    # A table of labels, as named; without it, folders are the classes. If it is used, its columns
    # are those that were chosen, and "none" for a kind that it does not have.
    labels: str | None = None
    path_column: str | None = None
    label_column: str | None = None
    label_columns: tuple[str, ...] | None = None
    group_column: str | None = None
    split_column: str | None = None
    weight_column: str | None = None
    # A table that corrects the labels of some images.
    relabel: str | None = None
    fit: Fit = "stretch"
    background: AnyBackground = "auto"
    # None: determined from the training images.
    value_range: AnyRange = None
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    # Below 1 a fraction of the files, otherwise a number of files.
    max_rejects: Annotated[float, Field(ge=0)] = 0.01

    @model_validator(mode="after")
    def _stable_groups(self) -> "DataSettings":
        if self.split == "stable" and self.group == "auto" and self.group_regex is None:
            # Not a ValueError: pydantic would keep only its text.
            raise InputError(
                "{} stable must be used with {} stem, {} none or {}, because auto may group "
                "differently when images are added",
                Option("split"),
                Option("group"),
                Option("group"),
                Option("group_regex"),
            )
        return self

    @model_validator(mode="after")
    def _official_test(self) -> "DataSettings":
        if self.test_images is not None and self.split != "exact":
            raise InputError(
                "{} cannot be combined with {}, which provides the test split",
                Option("split"),
                Option("test_images"),
            )
        return self

    @model_validator(mode="after")
    def _two_classes(self) -> "DataSettings":
        if self.classes is not None and (
            len(set(self.classes)) != len(self.classes) or len(self.classes) < 2
        ):
            raise InputError(
                "{} must name at least two different classes, but got {}",
                Option("classes"),
                ",".join(self.classes),
            )
        return self

    @model_validator(mode="after")
    def _one_class_rule(self) -> "DataSettings":
        if self.class_regex is not None and self.class_level != 1:
            raise InputError(
                "{} cannot be combined with {}, which finds the class in the path",
                Option("class_level"),
                Option("class_regex"),
            )
        if self.keeps_folders and self.test_images is not None:
            raise InputError(
                "{} {} cannot be combined with {}, which names the test set",
                Option("folders"),
                self.folders,
                Option("test_images"),
            )
        return self

    @model_validator(mode="after")
    def _table(self) -> "DataSettings":
        if self.labels is None:
            for name in ("path", "label", "group", "split", "weight"):
                if getattr(self, f"{name}_column") is not None:
                    _must_be_with(f"{name}_column")
            if self.label_columns is not None:
                _must_be_with("label_columns")
            return self
        if self.test_images is not None:
            raise InputError(
                "{} cannot be combined with {}: name the column that says which images are for "
                "testing with {}",
                Option("labels"),
                Option("test_images"),
                Option("split_column"),
            )
        if self.class_regex is not None:
            raise _not_both("class_regex", "labels")
        if self.class_level != 1:
            raise _not_both("class_level", "labels")
        if self.label_columns is not None:
            if self.label_column is not None:
                raise _not_both("label_column", "label_columns")
            if (
                len(set(self.label_columns)) != len(self.label_columns)
                or len(self.label_columns) < 2
            ):
                raise InputError(
                    "{} must name at least two different columns, but got {}",
                    Option("label_columns"),
                    ",".join(self.label_columns),
                )
        if self.has_column("group"):
            if self.group_regex is not None:
                raise _not_both("group_column", "group_regex")
            if self.group != "auto":
                raise _not_both("group_column", "group")
        return self

    @property
    def keeps_folders(self) -> bool:
        """Whether folders such as train/ and test/ are the split."""
        return self.folders in {"given", "given,move-groups"}

    @property
    def refuses_crossing(self) -> bool:
        """Whether groups of images must not cross the parts of the split that is given."""
        in_table = self.has_column("split")
        return self.folders == "given" or (in_table and self.folders != "given,move-groups")

    def has_column(self, kind: Literal["group", "split", "weight"]) -> bool:
        """Whether a table gives the images groups, a split or weights; its columns are chosen."""
        return getattr(self, f"{kind}_column") not in (None, NO_COLUMN)

    def identity(self, *, without: frozenset[str] = frozenset()) -> str:
        """The settings as text for a hash, without some of them.

        A setting of a later version is left out while it has its old meaning, so that data sets of
        before are found again.
        """
        later = {k for k in _LATER if getattr(self, k) == DataSettings.model_fields[k].default}
        # Near-duplicates were not looked for.
        later |= {"near_duplicates"} if self.near_duplicates == "keep" else set()
        return self.model_dump_json(exclude={*without, *later})

    @property
    def channels(self) -> Literal[1, 3]:
        return 1 if self.color_mode == "grayscale" else 3

    def decoding(self, value_range: ValueRange | None) -> Decoding:
        """How image files are decoded, with the given or determined value range."""
        return Decoding(self.image_size, self.channels, self.fit, self.background, value_range)


def _must_be_with(name: str) -> NoReturn:
    raise InputError("{} must be used with {}", Option(name), Option("labels"))


def _not_both(one: str, other: str) -> InputError:
    return InputError("{} cannot be combined with {}", Option(one), Option(other))
