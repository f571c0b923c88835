"""Shows folders as they were understood: a tree of counts and classes in few lines."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from cnn.data.folders.folder_splits import Place

_MOST_LINES = 20
# How many folders to show beside each other at each depth, until the lines are few enough.
_LIMITS = ((9, 9, 9), (6, 6, 6), (6, 4, 2), (6, 2, 1), (6, 1, 1), (3, 1, 1), (2, 1, 1), (1, 1, 1))


@dataclass
class _Node:
    """A folder in the tree, with the number of images and of other files in and below it."""

    images: int = 0
    others: int = 0
    # Images directly in it, by class.
    classes: dict[str, int] = field(default_factory=dict)
    folders: dict[str, "_Node"] = field(default_factory=dict)


def tree_lines(root: str, places: Iterable[Place], barren: Mapping[str, int]) -> list[str]:
    """Lines that show a tree of folders, indented by their depth.

    Args:
        root: What the uppermost folder is called.
        places: The folders that hold images.
        barren: The number of files of folders without images.

    Returns:
        At most about twenty lines: of many similar folders a few, and how many more there are.
    """
    top = _Node()
    for place in places:
        node = _grown(top, place.names, place.total, 0)
        node.classes = dict(place.images)
    for folder, count in barren.items():
        _grown(top, folder.split("/") if folder else (), 0, count)
    lines: list[str] = []
    for limits in _LIMITS:
        lines = list(_lines(root.rstrip("/"), top, 0, limits))
        if len(lines) <= _MOST_LINES:
            return lines
    return [*lines[: _MOST_LINES - 1], "  ..."]


def _grown(top: _Node, names: Iterable[str], images: int, others: int) -> _Node:
    """Adds files to the folder of these names, and to all above; returns the folder."""
    node = top
    node.images, node.others = node.images + images, node.others + others
    for name in names:
        node = node.folders.setdefault(name, _Node())
        node.images, node.others = node.images + images, node.others + others
    return node


def _lines(name: str, node: _Node, depth: int, limits: Sequence[int]) -> Iterator[str]:
    # A chain of folders with nothing beside them is one line.
    while len(node.folders) == 1 and not node.classes and depth > 0:
        ((below, child),) = node.folders.items()
        name, node = f"{name}/{below}", child
    yield f"{'  ' * depth}{name}/  {_counts(node)}{_classes(node)}"
    names = sorted(node.folders)
    shown = names[: limits[min(depth, len(limits) - 1)]]
    for below in shown:
        yield from _lines(below, node.folders[below], depth + 1, limits)
    rest = [node.folders[below] for below in names[len(shown) :]]
    if rest:
        images = sum(child.images for child in rest)
        yield f"{'  ' * (depth + 1)}... and {len(rest):,} more with {images:,} images"


def _counts(node: _Node) -> str:
    return f"{node.images:,} images" if node.images or not node.others else "no images"


def _classes(node: _Node) -> str:
    names = list(node.classes)
    if not names:
        return f", {node.others:,} other files" if node.others and not node.images else ""
    shown = ", ".join(map(repr, names[:3])) + (", ..." if len(names) > 3 else "")
    return f"  -> class {shown}" if len(names) == 1 else f"  -> classes {shown}"
