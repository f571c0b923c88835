"""What `--check` returns and writes: a data set that was looked at, and its page."""

from dataclasses import dataclass, field

from cnn.core.directory import Directory
from cnn.core.errors import Error
from cnn.data.blank_images import BlankImage
from cnn.data.data_set import DataSet
from cnn.data.near.resolution import NearDuplicate
from cnn.data.overview import Overview
from cnn.data.rejects import Kinds, Reject


@dataclass(frozen=True)
class Checked(DataSet):
    """A data set that was looked at and not written, so its `path` is empty.

    Attributes:
        written: The path or URI of the page that shows it.
        found: What was found.
    """

    written: str = field(kw_only=True)
    found: Overview = field(kw_only=True, repr=False)

    @property
    def problem(self) -> Error | None:
        """Why there would be no data set."""
        return self.found.too_many

    @property
    def page(self) -> str | None:
        return self.written

    def rejects(self) -> list[Reject]:
        return list(self.found.rejects)

    def kinds(self) -> Kinds:
        return self.found.kinds

    def near_duplicates(self) -> list[NearDuplicate]:
        return list(self.found.near)

    def blank(self) -> list[BlankImage]:
        return list(self.found.blank)


def write_checked(out: Directory, found: Overview, page: str) -> Checked:
    """Writes the page for a data set at `out`: DATA.check.html beside it, so that it is found."""
    parent, _, name = out.uri.rpartition("/")
    folder, file = Directory(parent or "/"), f"{name}.check.html"
    folder.write(file, page.encode())
    return Checked("", found.manifest, written=f"{folder.uri}/{file}", found=found)
