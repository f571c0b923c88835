"""The manifest of a data directory: what is in it, how it was made, and that it is complete."""

from typing import Annotated, Any, Final, Literal

from pydantic import BeforeValidator, Field, FiniteFloat, model_validator

from cnn.core.directory import Directory
from cnn.core.documents import Malformed, read_model
from cnn.core.errors import InputError, Option
from cnn.data.backgrounds import Background, parse_background
from cnn.data.decode import Decoding, Fit
from cnn.data.deep_images import ValueRange
from cnn.data.deep_value_range import parse_range
from cnn.settings.validation import Frozen, shown

MANIFEST = "manifest.json"
# 2: deep images are scaled by a range of values, transparency lies on a background.
SCHEMA_VERSION: Final = 2

COMMAND = "spark-submit jobs/preprocess.py"


# Of a square image, in pixels.
Side = Annotated[int, Field(ge=8, le=2048)]
Count = Annotated[int, Field(ge=0, lt=2**63)]
AnyBackground = Annotated[Background, BeforeValidator(parse_background)]
AnyRange = Annotated[ValueRange | None, BeforeValidator(parse_range)]


class Source(Frozen):
    """Where the images are from, as far as it is known; shown wherever results are."""

    name: str
    licence: str | None = None
    attribution: str | None = None
    url: str | None = None


class DataSettings(Frozen):
    """Every setting that preprocessing used."""

    image_size: Side = 128
    color_mode: Literal["grayscale", "rgb"] = "grayscale"
    classes: tuple[str, ...] | None = None
    test_fraction: Annotated[float, Field(gt=0, lt=1)] = 0.2
    group: Literal["auto", "stem", "none"] = "auto"
    group_regex: str | None = None
    split: Literal["exact", "stable"] = "exact"
    # What becomes of folders that look like a split.
    folders: Literal["ask", "ignore"] = "ask"
    # An official test set, as it was named: no test split is drawn, test_fraction is not used.
    test_images: str | None = None
    fit: Fit = "stretch"
    background: AnyBackground = "auto"
    # None: found over the training images.
    value_range: AnyRange = None
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    # A fraction of the files below 1, a number of files from 1 on.
    max_rejects: Annotated[float, Field(ge=0)] = 0.01

    @model_validator(mode="after")
    def _stable_groups(self) -> "DataSettings":
        if self.split == "stable" and self.group == "auto" and self.group_regex is None:
            # Not a ValueError, of which pydantic would keep the text alone.
            raise InputError(
                "{} stable must come with {} stem, {} none or {}, since auto may choose otherwise "
                "when images are added",
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
                "{} cannot be combined with {}, which are the test split",
                Option("split"),
                Option("test_images"),
            )
        return self

    @property
    def channels(self) -> Literal[1, 3]:
        return 1 if self.color_mode == "grayscale" else 3

    def decoding(self, value_range: ValueRange | None) -> Decoding:
        """How an image file becomes pixels, with the range that was given or found."""
        return Decoding(self.image_size, self.channels, self.fit, self.background, value_range)


class Manifest(Frozen):
    """`DATA/manifest.json`; written last, so that without it there is no data set."""

    schema_version: Literal[1, 2] = SCHEMA_VERSION
    size: Side
    channels: Literal[1, 3]
    classes: Annotated[tuple[str, ...], Field(min_length=1)]
    # Images by split ("train", "test") and class name.
    counts: dict[str, dict[str, Count]]
    groups: Count
    duplicates: Count
    # Files that were listed: rows and rejects; and those that were passed over.
    listed: Count
    rejects: Count
    # Rejects by kind of reason.
    reasons: dict[str, Count]
    # Of the rejects those that are sound images, but in an official test set too.
    withheld: Count = 0
    ignored: Count
    # Images that are blank or nearly so; version 1 did not look for them.
    blank: Count | None = None
    # Which values of images with more than 8 bits a channel became 0 and 255; None: there are none.
    value_range: AnyRange = None
    settings: DataSettings
    source: Source
    sample: bool
    inputs: str
    fingerprint: Annotated[str, Field(pattern=r"^[0-9a-f]{8,128}$")]
    seconds: FiniteFloat

    @model_validator(mode="before")
    @classmethod
    def _as_version_1(cls, tree: Any) -> Any:
        """What version 1 did not say: transparency lay on white."""
        settings = tree.get("settings") if isinstance(tree, dict) else None
        if isinstance(settings, dict) and tree.get("schema_version") == 1:
            return {**tree, "settings": {"background": "white", **settings}}
        return tree

    @model_validator(mode="after")
    def _counts_of_classes(self) -> "Manifest":
        if len(set(self.classes)) < len(self.classes):
            raise ValueError("classes must be distinct")
        for split in ("train", "test"):
            if self.counts.get(split, {}).keys() != set(self.classes):
                raise ValueError(f"counts.{split} must have a number for each of the classes")
        return self

    def total(self, split: str) -> int:
        return sum(self.counts[split].values())

    def smallest_class(self, split: str) -> int:
        """How many images the class has that has the fewest."""
        return min(self.counts[split].values())


def write_manifest(data: Directory, manifest: Manifest) -> None:
    data.write(MANIFEST, manifest.model_dump_json(indent=1).encode())


def read_manifest(data: Directory) -> Manifest:
    """Raises InputError where there is no data set, or not one of this version."""
    try:
        return read_model(Manifest, data, MANIFEST)
    except (FileNotFoundError, NotADirectoryError):
        raise InputError(
            "{} must name a data set, but {} has no {}; make one with: {} --out {}",
            Option("data"),
            data.uri,
            MANIFEST,
            COMMAND,
            data.uri,
        ) from None
    except Malformed as error:
        if error.where == "schema_version":
            raise InputError(
                f"a data set must have schema version 1 or {SCHEMA_VERSION}, but {data.uri} has "
                f"{shown(error.value)}; make it again with: {COMMAND}"
            ) from None
        raise InputError(
            f"{data.uri}/{MANIFEST} must be a manifest, but {error.where or 'it'} is wrong: {error}"
        ) from None
