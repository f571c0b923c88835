"""The manifest of a data directory: what it holds and how it was made."""

from typing import Annotated, Any, Final, Literal

from pydantic import Field, FiniteFloat, model_validator

from cnn.core.directory import Directory
from cnn.core.documents import Malformed, read_model
from cnn.core.errors import InputError, Option
from cnn.data.data_settings import AnyRange, DataSettings, Side
from cnn.settings.validation import Frozen, shown

MANIFEST = "manifest.json"
# 2: deep images are scaled by a value range, and transparent pixels show a background.
SCHEMA_VERSION: Final = 2

COMMAND = "spark-submit jobs/preprocess.py"


Count = Annotated[int, Field(ge=0, lt=2**63)]


class Source(Frozen):
    """The origin of the images, as far as it is known; shown with all results."""

    name: str
    licence: str | None = None
    attribution: str | None = None
    url: str | None = None


class TableCounts(Frozen):
    """What became of the rows of a table of labels, beyond images and rejects."""

    rows: Count
    # Rows of classes that were not asked for.
    other_labels: Count
    # Files that no row names.
    not_named: Count


class Manifest(Frozen):
    """`DATA/manifest.json`; written last, so a directory without it is not a data set."""

    schema_version: Literal[1, 2] = SCHEMA_VERSION
    size: Side
    channels: Literal[1, 3]
    classes: Annotated[tuple[str, ...], Field(min_length=1)]
    # Images by split ("train", "test") and class name.
    counts: dict[str, dict[str, Count]]
    groups: Count
    duplicates: Count
    # Listed files, which are the rows and the rejects.
    listed: Count
    rejects: Count
    # Rejects by kind of reason.
    reasons: dict[str, Count]
    # Rejects that are valid images but are also in an official test set.
    withheld: Count = 0
    # Pairs of near-duplicates, and those of them with different labels; None if an earlier version
    # did not look for them.
    near_duplicates: Count | None = None
    near_contradictions: Count | None = None
    # Files that were not listed.
    ignored: Count
    # Those in folders without images, by extension.
    passed_over: dict[str, Count] = Field(default_factory=dict)
    # None if the folders are the classes.
    table: TableCounts | None = None
    # Blank or nearly blank images; None in version 1, which did not look for them.
    blank: Count | None = None
    # The values of deep images that became 0 and 255; None if there are no deep images.
    value_range: AnyRange = None
    settings: DataSettings
    # Whether fold 0 of the training images is a validation set that was given.
    validation: Literal["given"] | None = None
    # What was concluded from names of folders and files, in sentences.
    assumptions: tuple[str, ...] = ()
    source: Source
    sample: bool
    inputs: str
    fingerprint: Annotated[str, Field(pattern=r"^[0-9a-f]{8,128}$")]
    seconds: FiniteFloat

    @model_validator(mode="before")
    @classmethod
    def _as_earlier(cls, tree: Any) -> Any:
        """Adds what earlier versions did not store: near-duplicates were kept, and in version 1
        transparent pixels were white.
        """
        settings = tree.get("settings") if isinstance(tree, dict) else None
        if not isinstance(settings, dict):
            return tree
        settings = {"near_duplicates": "keep", **settings}
        if tree.get("schema_version") == 1:
            settings = {"background": "white", **settings}
        return {**tree, "settings": settings}

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
        """The number of images of the smallest class."""
        return min(self.counts[split].values())


def write_manifest(data: Directory, manifest: Manifest) -> None:
    data.write(MANIFEST, manifest.model_dump_json(indent=1).encode())


def read_manifest(data: Directory) -> Manifest:
    """Reads a manifest. Raises InputError if it is missing, invalid or of another version."""
    try:
        return read_model(Manifest, data, MANIFEST)
    except (FileNotFoundError, NotADirectoryError):
        raise InputError(
            "{} must name a data set, but {} has no {}; create one with: {} --out {}",
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
                f"{shown(error.value)}; create it again with: {COMMAND}"
            ) from None
        raise InputError(
            f"{data.uri}/{MANIFEST} must be a manifest, but {error.where or 'it'} is invalid: "
            f"{error}"
        ) from None
