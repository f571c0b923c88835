"""Checks before a search begins; each error is one clear line."""

from collections.abc import Collection
from functools import partial

import numpy as np
import pyarrow.parquet as pq
from pyspark.sql import SparkSession

from cnn.core.clock import now
from cnn.core.directory import Directory
from cnn.core.errors import Error, InputError, Option
from cnn.core.failure_reason import failure
from cnn.core.near_misses import unknown_parameter
from cnn.data.arrays import choose
from cnn.data.manifest import MANIFEST, Manifest, read_manifest
from cnn.data.splits import TRAIN
from cnn.model.named_functions import check_sent
from cnn.search.hyperopt_documents import Vals
from cnn.search.limits import too_large
from cnn.search.optuna_strategies import check_installed
from cnn.search.space import SearchSpace
from cnn.settings.params import ModelParams
from cnn.settings.schema import FOLDS, SETTINGS, PhaseSettings, Settings
from cnn.settings.toml import read_settings, settings_text
from cnn.spark.retry import TaskFailed, retry_if_lost
from cnn.spark.slots import Slots

_TOKEN = "token"
OUT, DATA = Option("out"), Option("data")


def check_inputs(data: Directory, settings: Settings, passed: Collection[str] = ()) -> Manifest:
    """Checks the data directory and the settings as far as possible without Spark.

    Args:
        data: The data directory.
        settings: The search's settings.
        passed: The names of functions that were passed in Python (see cnn.model.own_function).

    Returns:
        The data directory's manifest.

    Raises:
        InputError: A search with these inputs would fail.
    """
    check_sent(settings, passed)
    for phase in settings.phases:
        check_installed(phase.strategy)
    manifest = read_manifest(data)
    kind = settings.model.params_kind
    folds, labels = _read_columns(data, manifest)
    _check_bytes(data, manifest)
    for phase in settings.phases:
        if phase.origin is None:
            space = SearchSpace(phase, kind=kind)
            _check_points(space)
            if settings.model.is_built_in:
                space.check_possible(partial(_refused, phase, manifest))
        networks = phase.networks(manifest.smallest_class(TRAIN), settings.few_images)
        is_last = phase is settings.phases[-1]
        _check_validation(phase, manifest, folds, labels, networks=networks, is_last=is_last)
    return manifest


def _refused(phase: PhaseSettings, manifest: Manifest, params: ModelParams) -> str | None:
    return params.impossible(manifest.size) or too_large(phase, params, manifest, ())


def check_point_names(settings: Settings) -> None:
    """Raises InputError if a point has a parameter outside the space, which would be ignored."""
    first = settings.phases[0]
    for place, point in enumerate(first.points):
        for name in point:
            if name not in first.space:
                where = f"search.points.{place}.{name}"
                raise InputError(unknown_parameter(where, name, first.space, of="[space]"))


def _check_points(space: SearchSpace) -> None:
    seen: list[Vals] = []
    for place, point in enumerate(space.phase.points):
        try:
            vals = space.encode(point)
        except InputError as error:
            raise InputError("search.points.{}.{}", place, error) from None
        if vals in seen:
            raise InputError(f"search.points must be distinct, but got {point} twice")
        seen.append(vals)


def _read_columns(data: Directory, manifest: Manifest) -> tuple[np.ndarray, np.ndarray]:
    filesystem, path = data.path(TRAIN)
    if not data.exists(TRAIN):
        raise InputError("{} must match its manifest, but {} has no {}", DATA, data.uri, TRAIN)
    table = pq.read_table(path, columns=["fold", "label"], filesystem=filesystem)
    if table.num_rows != manifest.total(TRAIN):
        raise InputError(
            "{} must match its manifest, but {} has {} rows instead of {}",
            DATA,
            f"{data.uri}/{TRAIN}",
            table.num_rows,
            manifest.total(TRAIN),
        )
    return table["fold"].to_numpy(), table["label"].to_numpy()


def _check_bytes(data: Directory, manifest: Manifest) -> None:
    """Checks the first image of each file; executors check all images when they read them."""
    expected = manifest.size * manifest.size * manifest.channels
    for name in data.names(TRAIN):
        filesystem, path = data.path(f"{TRAIN}/{name}")
        with pq.ParquetFile(path, filesystem=filesystem) as file:
            batch = next(file.iter_batches(1, columns=["pixels"]))
        count = len(batch.column("pixels")[0].as_py())
        if count != expected:
            raise InputError(
                "{} must match its manifest, whose images of {} have {} bytes, but {} has {}",
                DATA,
                f"{manifest.size}x{manifest.size}x{manifest.channels}",
                expected,
                f"{data.uri}/{TRAIN}/{name}",
                count,
            )


def _check_validation(
    phase: PhaseSettings,
    manifest: Manifest,
    folds: np.ndarray,
    labels: np.ndarray,
    *,
    networks: int,
    is_last: bool,
) -> None:
    subset = phase.train_images, phase.subset_seed
    for part in range(networks if networks > 1 else 0):
        train, _ = choose(folds, range(part, FOLDS, networks), *subset)
        for label, name in enumerate(manifest.classes):
            if not (labels[train] == label).any():
                raise InputError(
                    "every class must have images in at least two parts of a cross-validation, but "
                    f"{name!r} does not with cross_validation = {networks}"
                )
    if networks > 1 and not is_last:
        return
    sides = choose(folds, phase.validation_folds, *subset)
    for side, rows in zip(("train", "validate"), sides, strict=True):
        for label, name in enumerate(manifest.classes):
            if not (labels[rows] == label).any():
                raise InputError(
                    f"every class must have images to {side} on, but {name!r} has none "
                    f"with validation_folds = {list(phase.validation_folds)}"
                    + (f", train_images = {phase.train_images}" if phase.train_images else "")
                )


def check_run_dir(run: Directory, *, overwrite: bool) -> None:
    """Raises InputError if `run` holds something that must not be replaced."""
    if not run.exists():
        return
    if not run.is_dir():
        raise InputError("{} must be a directory, but {} is a file", OUT, run.uri)
    if not run.names():
        return
    if not run.exists(SETTINGS):
        raise InputError(
            "{} must be a new or empty directory or a run directory, but {} is neither",
            OUT,
            run.uri,
        )
    if not overwrite and not _died_early(run):
        raise InputError(
            "{} must not exist without {}, but {} holds a run", OUT, Option("overwrite"), run.uri
        )


def _died_early(run: Directory) -> bool:
    """Whether a driver died before it wrote run.json, so that there is nothing to lose."""
    if run.names() != [SETTINGS]:
        return False
    try:
        read_settings(settings_text(run))
    except InputError:
        return False
    return True


def check_visible(
    spark: SparkSession, data: Directory, run: Directory, slots: Slots, *, max_lost: int = 0
) -> None:
    """Checks that executors see the data directory and what the driver writes beside the run.

    Raises:
        InputError: An executor does not see one of the two directories.
        Error: Executors were lost more than `max_lost` times.
    """
    probe = Directory(f"{run.uri}.probe")
    token = now().isoformat().encode()
    probe.write(_TOKEN, token)

    def unseen(_: int) -> tuple[Option, str] | None:
        """The option whose directory this executor does not see, and why."""
        option = OUT
        try:
            if probe.read(_TOKEN) != token:
                return option, "it holds another file than the driver wrote"
            option = DATA
            return None if data.exists(MANIFEST) else (option, f"it has no {MANIFEST}")
        except (OSError, InputError) as error:
            return option, str(error)

    context, tasks = spark.sparkContext, 2 * slots.total
    try:
        answers = retry_if_lost(
            context,
            lambda: context.parallelize(range(tasks), tasks).map(unseen).collect(),
            max_lost,
        )
    except TaskFailed as error:
        raise Error(
            f"executors could not check whether they see {data.uri} and {run.uri}: {failure(error)}"
        ) from None
    finally:
        probe.remove()
    for option, why in filter(None, answers):
        uri = run.uri if option == OUT else data.uri
        use = f"there: {why}" if "://" in uri else "use a shared file system or a URI"
        raise InputError(
            "{} must be a directory that every executor can see, but {} is not: {}",
            option,
            uri,
            use,
        )


def remarks(phase: PhaseSettings, manifest: Manifest, few_images: int) -> list[str]:
    """Notes on settings that take effect in an unexpected way."""
    found = []
    available, smallest = manifest.total(TRAIN), manifest.smallest_class(TRAIN)
    if phase.train_images is not None and phase.train_images > available:
        found.append(
            f"phase {phase.name} uses all {available} training images, "
            f"fewer than the {phase.train_images} of train_images"
        )
    networks = phase.networks(smallest, few_images)
    if phase.cross_validation == "auto" and networks > 1:
        found.append(
            f"phase {phase.name} trains {networks} networks per trial, each validated on another "
            f"part of the images, because a class has only {smallest} training images"
        )
    if phase.cost is not None:
        found.append(
            f"phase {phase.name} has no rungs (search.halving): they compare trials by "
            f"{phase.objective} alone and would stop the networks that cost little"
        )
    return found
