"""A data directory as Python sees it."""

import textwrap
from dataclasses import dataclass

from cnn.core.console import plain
from cnn.core.directory import Directory
from cnn.data.blank_images import BlankImage, describe_blank, read_blank
from cnn.data.decoding.deep_value_range import describe_range
from cnn.data.duplicates import DUPLICATES
from cnn.data.labels.listing import describe_table
from cnn.data.manifest import Manifest
from cnn.data.near.resolution import NearDuplicate, describe_near, read_near_duplicates
from cnn.data.notebook_view import data_html
from cnn.data.overview import DATA_PAGE
from cnn.data.rejects import Kinds, Reject, describe_rejects, read_kinds, read_rejects
from cnn.data.sources.passed_over import describe_passed_over
from cnn.data.splits import TEST, TRAIN


@dataclass(frozen=True)
class DataSet:
    """A data directory; printed, it says what happened to every listed file."""

    path: str
    manifest: Manifest
    # Whether it was made now, rather than found.
    new: bool = True

    def rejects(self) -> list[Reject]:
        """The path and reason of every rejected file."""
        return read_rejects(Directory(self.path))

    def kinds(self) -> Kinds:
        """How many files were rejected for each kind of reason."""
        return read_kinds(Directory(self.path))

    def blank(self) -> list[BlankImage]:
        """The blank or nearly blank images."""
        return read_blank(Directory(self.path))

    def near_duplicates(self) -> list[NearDuplicate]:
        """Pairs of images that show the same picture."""
        return read_near_duplicates(Directory(self.path))

    @property
    def page(self) -> str | None:
        """The path or URI of the page that shows the data set; None if it has none."""
        data = Directory(self.path)
        return f"{data.uri}/{DATA_PAGE}" if data.exists(DATA_PAGE) else None

    def __str__(self) -> str:
        manifest = self.manifest
        width = max(len(name) for name in (*manifest.classes, "rejected"))
        lines = []
        for name in manifest.classes:
            train, test = (manifest.counts[split][name] for split in (TRAIN, TEST))
            lines.append(f"  {plain(name):{width}}  {train:>9,} train  {test:>9,} test")
        lines.append(f"  {'rejected':{width}}  {manifest.rejects:>9,}")
        kinds = describe_rejects(self.kinds())
        lines += [textwrap.indent(line, " " * (width + 6)) for line in kinds]
        ignored = f"  and {manifest.ignored:,} others ignored" if manifest.ignored else ""
        lines.append(f"  {'listed':{width}}  {manifest.listed:>9,}{ignored}")
        if manifest.table is not None:
            lines.append(describe_table(manifest.table))
        lines += describe_passed_over(manifest.passed_over)
        duplicates = f"{manifest.duplicates:,} duplicates"
        if manifest.duplicates and self.path:
            duplicates += f", listed in {plain(self.path)}/{DUPLICATES}"
        lines.append(f"{manifest.groups:,} groups, {duplicates}")
        lines += describe_near(self.path, self.near_duplicates())
        if manifest.value_range is not None:
            given = manifest.settings.value_range is not None
            lines.append(describe_range(manifest.value_range, given=given))
        lines += describe_blank(self.path, manifest, self.blank())
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        return data_html(self.path, self.manifest, self.page)
