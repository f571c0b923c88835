"""The backbones of a run: made on the driver, and kept in the run directory.

Keras builds and checks them in a separate process, so that the driver never imports TensorFlow.
"""

import json
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from cnn.core.directory import Directory, reachable
from cnn.core.documents import Malformed, read_json
from cnn.core.errors import Error, InputError
from cnn.core.seeds import derive_seed
from cnn.data.manifest import Manifest
from cnn.data.splits import TRAIN
from cnn.model.applications import application, is_file
from cnn.model.backbone_card import Backbone, advice
from cnn.model.file_check import MODEL
from cnn.search.journal import Start, read_start
from cnn.settings.schema import PhaseSettings, Settings
from cnn.spark.child import supervise
from cnn.train.pretrained import BACKBONES, Pretrained

# In RUN/backbones: what is known of each, in the order of the space.
CARDS = "backbones.json"
_Cards = TypeAdapter(tuple[Backbone, ...])
# What is suggested to those who search without a backbone: a file of 24 MB that is fetched quickly.
SUGGESTED = "efficientnet_v2_b0"
# With more training images in each class, a network from scratch may well be as good.
_MANY_IMAGES = 3000


@dataclass(frozen=True)
class _Wanted:
    names: tuple[str, ...]
    folder: Path


def make_backbones(names: Sequence[str], folder: Path) -> tuple[Backbone, ...]:
    """Makes the files of backbones in a local folder.

    Args:
        names: Names of keras.applications, or paths or URIs of .keras files.
        folder: Where the files go.

    Raises:
        InputError: There is no such backbone, its weights cannot be fetched, or its file cannot be
            used.
        Error: Keras's process died.
    """
    if not names:
        return ()
    ended = supervise(_make, _Wanted(tuple(names), folder), method="spawn")
    if not ended.returned:
        raise Error(f"the backbones could not be made: {ended.reason}")
    if isinstance(ended.value, str):
        raise InputError("{}", ended.value)
    found: tuple[Backbone, ...] = ended.value
    return found


def _make(wanted: _Wanted) -> tuple[Backbone, ...] | str:
    """In a process of its own: the backbones, or why there is none."""
    from cnn.model.backbone import put_backbone

    try:
        return tuple(put_backbone(name, wanted.folder) for name in wanted.names)
    except InputError as error:
        return str(error)


def check_unseen(names: Sequence[str], manifest: Manifest) -> None:
    """Raises InputError if a backbone is the model of a run on the same data.

    It would be judged on images that it was trained on.
    """
    for name in filter(is_file, names):
        folder, _, file = name.rpartition("/")
        if file != MODEL:
            continue
        try:
            start = read_start(reachable(folder or "."))
        except InputError:
            continue
        if start.fingerprint == manifest.fingerprint:
            raise InputError(
                "a backbone must not have been trained on the images that it is judged on, but {} "
                "is of a run on the same data; use a phase with start",
                name,
            )


def store_backbones(run: Directory, backbones: Sequence[Backbone], folder: Path) -> None:
    """Copies the files that `make_backbones` made to the run directory, their cards last."""
    if not backbones:
        return
    for backbone in backbones:
        content = (folder / backbone.file_name).read_bytes()
        run.write(f"{BACKBONES}/{backbone.file_name}", content)
    cards = [backbone.model_dump() for backbone in backbones]
    run.write(f"{BACKBONES}/{CARDS}", json.dumps(cards, indent=1).encode())


def read_backbones(run: Directory, settings: Settings) -> tuple[Backbone, ...]:
    """The backbones of a run that is resumed. Raises InputError if it has lost them."""
    if not settings.backbones:
        return ()
    try:
        found = _Cards.validate_python(read_json(run, f"{BACKBONES}/{CARDS}"))
    except (FileNotFoundError, Malformed, ValidationError):
        found = ()
    missing = [
        name for name in settings.backbones if name not in {backbone.name for backbone in found}
    ]
    gone = [b.name for b in found if not run.exists(f"{BACKBONES}/{b.file_name}")]
    if missing or gone:
        raise InputError(
            "a run that is resumed must have its backbones, but {} has none for {}",
            f"{run.uri}/{BACKBONES}",
            (missing or gone)[0],
        )
    return found


def pretrained_of(settings: Settings, backbones: tuple[Backbone, ...]) -> Pretrained:
    """What executors are told about the backbones, but for the precision of their devices."""
    # Views are computed only if some head is trained on them.
    views = settings.features.views if any(map(_augments, settings.phases)) else 0
    return Pretrained(
        backbones=backbones,
        dtype=settings.features.dtype,
        views=views,
        views_seed=derive_seed(settings.phases[0].seed, "views"),
    )


def _augments(phase: PhaseSettings) -> bool:
    augment = phase.space.get("augment")
    return augment is not None and True in (augment.choices or ())


def backbone_remarks(backbones: Sequence[Backbone], manifest: Manifest) -> list[str]:
    """How the images could be stored to suit the backbones better."""
    remarks = [
        advice(backbone, size=manifest.size, channels=manifest.channels) for backbone in backbones
    ]
    return [remark for remark in remarks if remark is not None]


def backbone_hint(settings: Settings, manifest: Manifest, start: Start) -> str | None:
    """What to do for a better network, if a backbone would probably help.

    It probably helps with photographs of which there are few. That images are photographs cannot be
    known, only that the sample data set's are not.
    """
    smallest = manifest.smallest_class(TRAIN)
    if settings.backbones or not settings.model.is_built_in or manifest.sample:
        return None
    if smallest >= _MANY_IMAGES:
        return None
    command = f"./spark-submit.sh jobs/tune.py --data {shlex.quote(start.data)}"
    command += f" --backbone {SUGGESTED}"
    if start.command == ("cnn.tune",):
        command = f"tune(spark, {start.data!r}, backbone={SUGGESTED!r})"
    side = application(SUGGESTED).side
    suited = manifest.channels == 3 and manifest.size >= side
    first = "" if suited else f"preprocess the images --for {SUGGESTED} ({side}x{side} RGB), then "
    return (
        f"with {smallest:,} training images of a class, photographs are probably classified better "
        f"by a pretrained network: {first}{command}"
    )
