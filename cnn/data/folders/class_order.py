"""The classes of a data set, in the order of their labels."""

from collections.abc import Mapping

from cnn.core.errors import InputError, Option
from cnn.data.data_settings import DataSettings
from cnn.data.sources.passed_over import describe_files

# Two folders that are known to show the same under the same names, in the order of their labels.
KNOWN_PAIR = ("faces", "comics")
IMAGES, CLASSES = Option("images"), Option("classes")


def class_order(
    place: str,
    found: set[str],
    leaves: set[str],
    settings: DataSettings,
    passed_over: Mapping[str, int],
) -> tuple[str, ...]:
    """Returns the classes of a data set in the order of their labels.

    Args:
        place: The name of the images' folder in messages.
        found: The classes that have images.
        leaves: The classes that should have images.
        settings: The settings of the data set.
        passed_over: Files in folders without images, by extension.

    Raises:
        InputError: There are fewer than two classes, one has no images, or a requested one is
            missing.
    """
    if settings.classes is not None:
        for name in settings.classes:
            if name not in found:
                raise InputError(
                    "{} must name folders that hold images, but {!r} has none; found: {}",
                    CLASSES,
                    name,
                    ", ".join(sorted(found)),
                )
        return settings.classes
    empty = sorted(leaves - found)
    if empty:
        raise InputError(
            "every class folder must hold images, but {!r} has none{}; name the classes to use "
            "with {}, or leave folders out with {}",
            empty[0],
            f" (passed over: {describe_files(passed_over)})" if passed_over else "",
            CLASSES,
            Option("exclude"),
        )
    if len(found) < 2:
        raise InputError(
            "{} must hold at least two classes, but {} has one: {!r}",
            IMAGES,
            place,
            next(iter(found)),
        )
    if found == set(KNOWN_PAIR):
        return KNOWN_PAIR
    return tuple(sorted(found))
