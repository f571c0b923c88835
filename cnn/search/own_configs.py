"""The settings files that are laid over the defaults by themselves, because of the data."""

from collections.abc import Sequence
from importlib.resources.abc import Traversable

from cnn.core.directory import Directory
from cnn.data.manifest import read_manifest
from cnn.data.splits import TRAIN
from cnn.settings.schema import FEW_IMAGES
from cnn.settings.toml import CONF


def own_configs(data: Directory, named: Sequence[Traversable]) -> list[Traversable]:
    """The settings that suit the data, below the settings files that a request names."""
    manifest = read_manifest(data)
    given = [] if manifest.validation is None else [CONF / "given.toml"]
    if named:
        return [*given, *named]
    if manifest.sample:
        return [CONF / "sample.toml"]
    few = manifest.smallest_class(TRAIN) < FEW_IMAGES
    return [CONF / "small.toml", *given] if few else given
