"""Names of classes that mean the same: found, and merged by a rule or by a table.

`Cats` and `cats` are one class to a person, and so are two Unicode forms of one name, which look
alike on a screen. Such names are never merged in silence: `merger` returns what the user asked for,
and `alike` finds what is left.
"""

import csv
import io
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping

from cnn.core.directory import Directory
from cnn.core.documents import Malformed, read_document
from cnn.core.errors import InputError, Option
from cnn.data.data_settings import DataSettings

MAP_LABELS = Option("map_labels")
_COLUMNS = ("from", "to")
# A class's name as found -> its name in the data set.
Merge = Callable[[str], str]


def lowered(name: str) -> str:
    """A name in lower case, without superfluous spaces, in Unicode's composed form (NFC).

    >>> lowered("  Hot   Dog ")
    'hot dog'
    """
    composed = unicodedata.normalize("NFC", " ".join(name.split()))
    # Some letters decompose when they become lower case.
    return unicodedata.normalize("NFC", composed.lower())


def merger(settings: DataSettings) -> Merge:
    """Returns the function that gives each class its name in the data set.

    First the table of `--map-labels`, if there is one, replaces the names in its column `from`;
    then `--lower-labels` lowers all names.

    Args:
        settings: The settings of the data set.

    Raises:
        InputError: The table cannot be read.
    """
    table = {} if settings.map_labels is None else read_map(settings.map_labels)
    if not table and not settings.lower_labels:
        return str
    then = lowered if settings.lower_labels else str
    return lambda name: then(table.get(name, name))


def read_map(place: str) -> dict[str, str]:
    """Reads a table of names: a CSV file with the columns `from` and `to`.

    Args:
        place: The file's path or URI.

    Raises:
        InputError: The file cannot be read, lacks a column or a name, or maps a name to two.
    """
    folder, _, name = place.rpartition("/")
    try:
        content = read_document(Directory(folder or ("/" if "/" in place else ".")), name)
        rows = list(csv.DictReader(io.StringIO(content.decode("utf-8-sig"), newline="")))
    except OSError as error:
        reason = error.strerror or str(error)
        raise InputError("{} must be a file, but got {}: {}", MAP_LABELS, place, reason) from None
    except (Malformed, UnicodeDecodeError, csv.Error) as error:
        raise InputError("{} must be a CSV file, but {}: {}", MAP_LABELS, place, error) from None
    table: dict[str, str] = {}
    for number, row in enumerate(rows, start=1):
        source, target = (row.get(column) or "" for column in _COLUMNS)
        if not source or not target:
            raise InputError(
                "{} must have the columns from and to and a name in both, but row {} of {} does "
                "not",
                MAP_LABELS,
                number,
                place,
            )
        if table.setdefault(source, target) != target:
            raise InputError(
                "{} must give each name one new name, but {} maps {!r} to {!r} and {!r}",
                MAP_LABELS,
                place,
                source,
                table[source],
                target,
            )
    if not table:
        raise InputError("{} must have a row, but {} has none", MAP_LABELS, place)
    return table


def check_map(settings: DataSettings, names: Iterable[str]) -> None:
    """Raises InputError if the table of `--map-labels` has a name that no class has.

    Such a row would do nothing, probably because of a spelling mistake.

    Args:
        settings: The settings of the data set.
        names: All names of classes as they were found, before any was merged.
    """
    if settings.map_labels is None:
        return
    found = set(names)
    for name in read_map(settings.map_labels):
        if name not in found:
            raise InputError(
                "{} must name classes in its column from, but {!r} is none; found: {}",
                MAP_LABELS,
                name,
                ", ".join(sorted(found)),
            )


def alike(names: Iterable[str]) -> list[list[str]]:
    """Groups of different names that `--lower-labels` would merge.

    >>> alike(["cats", "dogs", "Cats"])
    [['Cats', 'cats']]
    """
    groups: dict[str, list[str]] = defaultdict(list)
    for name in sorted(set(names)):
        groups[lowered(name)].append(name)
    return [group for group in groups.values() if len(group) > 1]


def describe_alike(
    names: Iterable[str], suggest: Callable[[Mapping[str, bool]], str]
) -> str | None:
    """A line of warning about names that differ only in case, spaces or Unicode form.

    Args:
        names: The classes of the data set.
        suggest: Writes the user's command with some settings changed.

    Returns:
        The line, with the command that merges them, or None if there are no such names.
    """
    groups = alike(names)
    if not groups:
        return None
    # Two Unicode forms look alike: show the characters.
    shown = [
        " and ".join(map(repr if group[0].isascii() else ascii, group)) for group in groups[:3]
    ]
    more = f" (and {len(groups) - 3} more)" if len(groups) > 3 else ""
    return (
        f"warning: {', '.join(shown)}{more} are different classes, but differ only in case, spaces "
        f"or Unicode form; to merge them: {suggest({'lower_labels': True, 'overwrite': True})}"
    )
