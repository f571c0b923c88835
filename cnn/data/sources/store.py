"""Reads images from an object store (s3://) without Spark."""

from collections import defaultdict
from collections.abc import Callable, Iterator

from pyarrow import fs

from cnn.core.directory import Directory
from cnn.data.decoding.decode import Unreadable
from cnn.data.sources.listing import ALL, Folder, Found, Subset, is_junk
from cnn.data.sources.source import ImageSource


class StoreSource(ImageSource):
    """Images in a bucket: the driver lists them, and each task reads its own."""

    def __init__(self, place: Directory, subset: Subset = ALL) -> None:
        super().__init__(place.uri, subset, is_folder=place.is_dir(), is_file=place.is_file())
        self._root = Directory(place.uri.rpartition("/")[0]) if self.is_file else place

    def folders(self) -> Iterator[Folder]:
        filesystem, root = self._root.path()
        files: dict[str, list[Found]] = defaultdict(list)
        junk: dict[str, set[str]] = defaultdict(set)
        folders = {""}
        for info in filesystem.get_file_info(fs.FileSelector(root, recursive=True)):
            path = info.path.removeprefix(f"{root}/")
            if not self.subset.has(path):
                continue
            names = path.split("/")
            place = next((i for i, name in enumerate(names) if is_junk(name)), None)
            if place is not None:
                junk["/".join(names[:place])].add(names[place])
                names = names[: place + 1]
            elif info.is_file:
                files["/".join(names[:-1])].append(Found(path, info.size, info.mtime_ns or 0, 0))
            else:
                folders.add(path)
            folders |= {"/".join(names[:end]) for end in range(1, len(names))}
        holding = {folder.rpartition("/")[0] for folder in folders if folder}
        for folder in sorted(folders):
            name = folder.rpartition("/")[2] or root.rpartition("/")[2]
            found = sorted(files[folder])
            yield Folder(name, found, len(junk[folder]), folder in holding, folder)

    def opener(self) -> Callable[[str], bytes]:
        root, prefix = self._root, self.subset.prefix
        return lambda path: _read(root, path.removeprefix(prefix))


def _read(root: Directory, path: str) -> bytes:
    try:
        return root.read(path)
    except OSError as error:
        raise Unreadable(f"unreadable: {error.strerror or error}") from None
