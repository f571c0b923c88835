"""`preprocess` and `tune` for notebooks: keyword arguments instead of flags and TOML files.

Both use an existing session, raise the same one-line errors as the jobs, and return objects that a
notebook can display.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cnn.core.calls import as_plain, errors_name_arguments, one_line_interrupt
from cnn.core.console import say
from cnn.core.directory import Directory, reachable
from cnn.core.errors import InputError
from cnn.core.near_misses import unknown_key
from cnn.core.notebook import display_here
from cnn.data.checked import Checked
from cnn.data.data_set import DataSet
from cnn.data.data_settings import DataSettings
from cnn.data.preprocess import Origin, data_settings
from cnn.data.preprocess import preprocess as make_data
from cnn.model.backbone_card import image_settings
from cnn.model.builder import Build
from cnn.model.own_function import is_sent
from cnn.model.passed_functions import with_builder, with_objective
from cnn.report.data_page import render_data_page
from cnn.run import Run
from cnn.search.run_search import default_run_dir
from cnn.settings.cli_defaults import DOWNLOADS, SAMPLE_PAIRS
from cnn.spark.machine import keras_overridden
from cnn.spark.session import existing_session
from cnn.start import RunRequest, extend_run, resume_run, start_run

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

Location = str | Path
Table = Mapping[str, Any]


def preprocess(
    spark: "SparkSession",
    images: Location | None = None,
    out: Location = "data",
    *,
    kaggle: str | None = None,
    download_dir: Location = DOWNLOADS,
    sample: int = SAMPLE_PAIRS,
    overwrite: bool = False,
    backbone: Location | None = None,
    check: bool = False,
    **settings: Any,
) -> DataSet:
    """Decodes folders of images, one folder for each class, into a data directory.

    Spark decodes the images in parallel, and they are split into a training and a test set. A data
    directory that was made from the same images with the same settings is returned unchanged.

    Args:
        spark: A running session on a driver, not one of Spark Connect.
        images: The folder of images: a path, or a URI that Spark can read. If it is not given,
            the images come from `kaggle`; if neither is given, the sample data set is drawn.
        out: The data directory to write: a path or a URI.
        kaggle: A data set on Kaggle, as "owner/name".
        download_dir: The directory in which data sets from Kaggle are unpacked.
        sample: The number of pairs of a face and a comic in the sample data set.
        overwrite: Whether to replace a data set at `out`.
        backbone: A backbone, by its name in keras.applications or the path or URI of its file:
            sets image_size and color_mode to what it takes, unless they are given.
        check: Whether to look at everything but write only a page that shows it, beside `out`:
            OUT.check.html. The result is a `Checked`, which has no data set at its path.
        **settings: The settings that jobs/preprocess.py has as flags: image_size, color_mode,
            fit, background, value_range, classes, class_level, class_regex, exclude, labels,
            path_column, label_column, label_columns, group_column, split_column, weight_column,
            relabel, lower_labels, map_labels, test_images, folders, test_fraction, group,
            group_regex, near_duplicates, split, max_rejects, seed. `background` may be (red, green,
            blue), `value_range` is (low, high), and `exclude` and `label_columns` are lists.

    Returns:
        The data set; printed, it says what happened to every file.

    Raises:
        InputError: An argument cannot be used; nothing was written.
        Error: Preprocessing failed, or more images were rejected than `max_rejects`; nothing was
            written.

    >>> data = preprocess(spark, images, out, image_size=32, test_fraction=0.25)
    48 files of cats, dogs
    >>> data.manifest.size, data.manifest.classes
    (32, ('cats', 'dogs'))
    """
    session = existing_session(spark)
    for key in settings:
        if key not in DataSettings.model_fields:
            raise InputError(unknown_key(key, key, DataSettings.model_fields))
    if images is not None and kaggle is not None:
        raise InputError("images cannot be combined with kaggle, but both were given")
    settings = as_plain({key: value for key, value in settings.items() if value is not None}, "")
    for key in ("classes", "label_columns"):
        if key in settings:
            settings[key] = tuple(settings[key])
    where = {"images": images, "kaggle": kaggle, "out": out, "overwrite": overwrite or None}
    where |= {"check": check or None}
    where["backbone"] = backbone
    where["download_dir"] = None if download_dir == DOWNLOADS else download_dir

    def suggest(changes: Mapping[str, Any]) -> str:
        named = {**where, **settings, **changes}
        if "classes" in changes:
            named["classes"] = changes["classes"].split(",")
        words = [f"{k}={as_plain(v, k)!r}" for k, v in named.items() if v is not None]
        return f"preprocess({', '.join(['spark', *words])})"

    with (
        errors_name_arguments(),
        one_line_interrupt(lambda: "nothing was written; call preprocess again"),
    ):
        return make_data(
            session,
            Origin(
                suggest,
                None if images is None else str(images),
                kaggle,
                Path(download_dir),
                sample,
            ),
            reachable(out),
            data_settings(
                settings if backbone is None else image_settings(str(backbone), settings)
            ),
            overwrite=overwrite,
            page=render_data_page,
            check=check,
        )


def tune(
    spark: "SparkSession",
    data: DataSet | Location | None = None,
    out: Location | None = None,
    *,
    search: Table | None = None,
    space: Table | None = None,
    phases: Sequence[Table] | None = None,
    final: Table | None = None,
    model: Table | None = None,
    features: Table | None = None,
    cache: Table | None = None,
    backbone: str | Path | Sequence[str | Path] = (),
    config: Location | Sequence[Location] = (),
    build: Build | None = None,
    warm_start: Location | Sequence[Location] = (),
    max_trials: int | None = None,
    resume: bool = False,
    extend: Location | None = None,
    overwrite: bool = False,
) -> Run:
    """Searches for the best CNN for a data directory, trains it, tests it once and saves it.

    Args:
        spark: A running session on a driver, not one of Spark Connect. Each trial is one of its
            tasks.
        data: What `preprocess` returned, or a data directory's path or URI; by default `data/`.
        out: The run directory to write: a path or a URI; by default a new one in `runs/`.
        search: Settings of the search, such as {"max_trials": 50}. This table and the next six
            are those of conf/default.toml; they are laid over it and over the files of `config`.
            `objective` may also be a function `objective(probabilities, labels)` of your own, or
            a list of an objective and a cost.
        space: The possible values of each parameter, such as {"filters": {"choices": [16, 32]}}.
        phases: The tables of a search in several phases.
        final: Settings of the final training of the winner.
        model: The function that builds the network, and its precision.
        features: Settings of the features of images on a backbone.
        cache: Settings of the cache of images on each host.
        backbone: Names of keras.applications, or paths of .keras files, beside "none".
        config: TOML files, laid over conf/default.toml in order.
        build: A function `build(params, *, size, channels, classes)` of your own, which returns
            an uncompiled Keras model of Keras's own layers that takes uint8 pixels. `params` then
            has learning_rate, batch_size and the parameters in `space` and the files of `config`.
        warm_start: Earlier runs, also on other data, whose best parameters are tried first.
        max_trials: The trials of each phase, as `search={"max_trials": ...}`; with `extend`, how
            many more the last phase gets.
        resume: Whether to continue the run at `out` with its own settings and the same functions.
            Finished work is not repeated.
        extend: A finished run that goes on, with `max_trials` more trials and the same functions;
            `space` may widen its space as long as all its trials stay inside.
        overwrite: Whether to replace a run at `out`.

    Returns:
        The finished run, which a notebook can display.

    Raises:
        InputError: An argument cannot be used; nothing was started.
        Error: The search failed; finished work stays on disk, and the message says where.

    >>> run = tune(spark, data, out, search={"max_trials": 1, "epochs": 1})
    settings: default.toml ...
    >>> 0 <= run.test_accuracy <= 1
    True
    """
    session = existing_session(spark)
    for line in keras_overridden():
        say(line)
    functions: dict[str, bytes] = {}
    search = with_objective(search, functions, keeps=resume or extend is not None)
    named = {"search": search, "space": space, "phases": phases, "final": final}
    named |= {"model": model, "features": features, "cache": cache}
    tables = {key: as_plain(table, key) for key, table in named.items() if table is not None}
    started: list[Directory] = []
    passed = ['search={"objective": ...}'] if functions else []
    if build is not None:
        tables["model"] = with_builder(tables.get("model", {}), build, functions)
        if is_sent(tables["model"]["builder"]):
            passed.append("build=...")
    request = RunRequest(
        configs=[Path(path) for path in _listed(config)],
        tables=tables,
        flags={} if max_trials is None else {"max_trials": as_plain(max_trials, "max_trials")},
        backbones=[str(name) for name in _listed(backbone)],
        functions=functions,
        command=("cnn.tune",),
        display=display_here(),
        on_start=started.append,
    )
    if isinstance(data, Checked):
        raise InputError("data must be a data set, but got one that was only checked")
    where = None if data is None else reachable(data.path if isinstance(data, DataSet) else data)
    with errors_name_arguments(), one_line_interrupt(lambda: _how_to_resume(started, passed)):
        if resume:
            given = {"config": config, "overwrite": overwrite, "warm_start": warm_start}
            given["backbone"] = backbone
            _check_resume(out, {**given, "phases": phases, "extend": extend})
            return resume_run(session, reachable(str(out)), request, data=where)
        if extend is not None:
            alone: Table = {"out": out, "overwrite": overwrite, "warm_start": warm_start}
            _check_alone("extend", {**alone, "backbone": backbone, "phases": phases})
            return extend_run(session, reachable(extend), request, data=where)
        return start_run(
            session,
            where or reachable("data"),
            reachable(out or default_run_dir()),
            request,
            earlier=[reachable(run) for run in _listed(warm_start)],
            overwrite=overwrite,
        )


def _listed(one_or_more: Location | Sequence[Location]) -> Sequence[Location]:
    return [one_or_more] if isinstance(one_or_more, str | Path) else one_or_more


def _check_resume(out: Location | None, given: Table) -> None:
    if out is None:
        raise InputError("resume must be used with out, the run to continue")
    _check_alone("resume", given)


def _check_alone(option: str, given: Table) -> None:
    for name, value in given.items():
        if value:
            raise InputError(f"{option} cannot be combined with {name}: a run has its own settings")


def _how_to_resume(started: Sequence[Directory], passed: Sequence[str]) -> str:
    """What continues an interrupted run; `passed` are the functions that must be passed again."""
    if not started:
        return "nothing was started"
    again = "".join(f", {argument}" for argument in passed)
    call = f"tune(spark, out={started[0].uri!r}, resume=True{again})"
    return f"finished work is on disk; resume with: {call}"
