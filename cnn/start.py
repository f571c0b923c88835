"""Starts, resumes or extends a run in a given session, for the job and for notebooks."""

import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cnn.core.clock import now
from cnn.core.console import say
from cnn.core.directory import Directory
from cnn.core.display import Display, OnStdout
from cnn.core.errors import InputError, Option
from cnn.data.manifest import Manifest, read_manifest
from cnn.model.backbone_card import Backbone
from cnn.model.named_functions import check_named_functions, check_passed, names_given
from cnn.report.page import REPORT, write_report
from cnn.run import Run
from cnn.rundir.earlier_runs import NOTHING, EarlierRuns
from cnn.rundir.extension import EXTENSION, Extension, read_extension, remove_extension
from cnn.rundir.result import RESULT
from cnn.rundir.trials import TrialResult, read_trials
from cnn.search.backbones import check_unseen, make_backbones, pretrained_of, read_backbones
from cnn.search.context import Search
from cnn.search.end_run import end_run, has_ended, is_left
from cnn.search.extension import EXTEND, RESUME, check_finished, plan_extension
from cnn.search.journal import Start, claim_run, read_start, recover_trials
from cnn.search.mlflow import MlflowLog, log_finished
from cnn.search.own_configs import own_configs
from cnn.search.preflight import check_inputs, check_point_names, check_run_dir
from cnn.search.resume import check_unchanged, resume_settings
from cnn.search.run_search import run_search
from cnn.search.warm_start import warm_start
from cnn.settings.params import NO_BACKBONE
from cnn.settings.schema import Settings
from cnn.settings.toml import CONF, load_settings, overlay, read_tables, settings_text

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

    from pyspark.sql import SparkSession


@dataclass(frozen=True)
class RunRequest:
    """The requested settings, in the order in which they override the defaults, and options."""

    configs: "Sequence[Traversable]" = ()
    tables: Mapping[str, Any] | None = None
    # Pretrained networks to search heads for, beside networks from scratch.
    backbones: Sequence[str] = ()
    flags: Mapping[str, Any] | None = None
    assignments: Sequence[str] = ()
    # Functions that cannot be imported, by their names in the settings (see
    # cnn.model.own_function).
    functions: Mapping[str, bytes] = field(default_factory=dict)
    command: tuple[str, ...] = ()
    # The URI of an MLflow server to log to, and the experiment there.
    mlflow: str | None = None
    mlflow_experiment: str | None = None
    # Where progress is displayed.
    display: Display = field(default_factory=OnStdout)
    # Called when the run directory holds all that resuming needs.
    on_start: Callable[[Directory], None] = lambda run: None


@dataclass(frozen=True)
class Made:
    """The backbones of a run, and where their files are if the run directory lacks them."""

    backbones: tuple[Backbone, ...] = ()
    folder: Path | None = None


def start_run(
    session: AbstractContextManager["SparkSession"],
    data: Directory,
    run: Directory,
    request: RunRequest,
    *,
    earlier: Sequence[Directory] = (),
    overwrite: bool = False,
) -> Run:
    """Starts a search, which uses what the runs `earlier` have found.

    Invalid input is reported before `session` is entered. Raises Error.
    """
    configs = own_configs(data, request.configs)
    tables = request.tables
    if request.backbones:
        configs = [CONF / "pretrained.toml", *configs]
        choices = list(dict.fromkeys((NO_BACKBONE, *request.backbones)))
        tables = overlay({"space": {"backbone": {"choices": choices}}}, dict(tables or {}))
    settings = load_settings(
        configs,
        tables=tables,
        flags=request.flags,
        assignments=request.assignments,
    )
    check_point_names(settings)
    warm = warm_start(settings, earlier)
    settings = warm.settings
    manifest = check_inputs(data, settings, request.functions)
    names = ("default.toml", *(path.name for path in configs), *(request.tables or {}))
    start = Start(
        data=data.uri,
        fingerprint=manifest.fingerprint,
        started=now(),
        configs=names,
        command=request.command,
    )
    check_run_dir(run, overwrite=overwrite)
    with tempfile.TemporaryDirectory(prefix="cnn-backbones-") as folder, claim_run(run):
        check_run_dir(run, overwrite=overwrite)
        check_unseen(settings.backbones, manifest)
        made = Made(make_backbones(settings.backbones, Path(folder)), Path(folder))
        print(f"settings: {' + '.join(names)}", flush=True)
        for remark in warm.remarks:
            say(remark)
        known = warm.earlier
        return _search(session, data, run, settings, manifest, start, request, made, known=known)


def resume_run(
    session: AbstractContextManager["SparkSession"],
    run: Directory,
    request: RunRequest,
    *,
    data: Directory | None = None,
) -> Run:
    """Resumes a run with its own settings and any allowed changes to them. Raises Error.

    A finished run is returned unchanged; changes to it are refused.
    """
    start = read_start(run)
    if is_left(run):
        with claim_run(run):
            if is_left(run):
                end_run(run)
    extension = read_extension(run)
    finished = Run.load(run.uri) if run.exists(RESULT) and extension is None else None
    source = run.sub(EXTENSION) if extension else run
    settings, changes = resume_settings(
        settings_text(source),
        tables=request.tables,
        flags=request.flags,
        assignments=request.assignments,
    )
    if finished is not None:
        check_unchanged(changes, run)
        if data is not None:
            _check_data(data, read_manifest(data), start, RESUME)
        if not run.exists(REPORT):
            write_report(run)
        print("the run has already finished")
        log = _log(run, start, request)
        if log is not None:
            log_finished(log, read_trials(run), finished.result)
        return finished
    check_passed(settings, request.functions, RESUME)
    named = names_given(request.tables or {}, request.assignments)
    for place in (run, source):
        check_named_functions(place, settings, named, RESUME)
    data = data or Directory(start.data)
    manifest = check_inputs(data, settings, request.functions)
    _check_data(data, manifest, start, RESUME)
    made = Made(read_backbones(run, settings))
    with claim_run(run):
        unfinished = extension is not None or not run.exists(RESULT)
        if unfinished and read_extension(run) == extension and not has_ended(run):
            earlier = recover_trials(run, settings)
            done = sum(trial.status != "cancelled" for trial in earlier)
            what = f"the extension of {run.uri}" if extension else run.uri
            print(f"resuming {what}: {done} trials are done", flush=True)
            return _search(
                *(session, data, run, settings, manifest, start, request, made, earlier),
                extension=extension,
            )
    # Its driver was still there, and has ended the run before this one could claim it.
    return resume_run(session, run, request)


def extend_run(
    session: AbstractContextManager["SparkSession"],
    run: Directory,
    request: RunRequest,
    *,
    data: Directory | None = None,
) -> Run:
    """Goes on with a finished run: its last phase gets more trials, also in a wider space.

    The run stays as it is, apart from new trials, until the new result is there. Raises Error.
    """
    check_finished(run)
    with claim_run(run):
        check_finished(run)
        start, trials = read_start(run), read_trials(run)
        tables = overlay(read_tables(request.configs), request.tables or {})
        plan = plan_extension(
            settings_text(run),
            trials,
            tables=tables,
            flags=request.flags,
            assignments=request.assignments,
        )
        settings = plan.settings
        check_passed(settings, request.functions, EXTEND)
        named = names_given(request.tables or {}, request.assignments)
        check_named_functions(run, settings, named, EXTEND)
        data = data or Directory(start.data)
        manifest = check_inputs(data, settings, request.functions)
        _check_data(data, manifest, start, EXTEND)
        made = Made(read_backbones(run, settings))
        extension = Extension(
            started=now(),
            command=request.command,
            configs=(*(path.name for path in request.configs), *(request.tables or {})),
            first_number=trials[-1].number + 1 if trials else 0,
            trials=plan.trials,
            more=plan.more,
        )
        remove_extension(run)
        print(f"extending {run.uri}: {plan.text()}", flush=True)
        earlier = recover_trials(run, settings)
        return _search(
            *(session, data, run, settings, manifest, start, request, made, earlier),
            extension=extension,
        )


def _check_data(data: Directory, manifest: Manifest, start: Start, option: Option) -> None:
    if manifest.fingerprint != start.fingerprint:
        raise InputError(
            "{} must use the data that the run started with, but {} holds different rows",
            option,
            data.uri,
        )


def _search(
    session: AbstractContextManager["SparkSession"],
    data: Directory,
    run: Directory,
    settings: Settings,
    manifest: Manifest,
    start: Start,
    request: RunRequest,
    made: Made,
    earlier: Sequence[TrialResult] | None = None,
    known: EarlierRuns = NOTHING,
    extension: Extension | None = None,
) -> Run:
    """`earlier` are the finished trials of a run that is resumed or extended."""
    log = _log(run, start, request)

    def on_start() -> None:
        request.on_start(run)
        if log is not None:
            log.begin()

    # The session ends first, so that a slow MLflow server does not keep Spark's machines busy.
    with log or nullcontext(), session as spark:
        search = Search(
            spark,
            data,
            run,
            settings,
            manifest,
            earlier or [],
            say,
            on_trial=log.add if log else lambda trial: None,
            known=known,
            pretrained=pretrained_of(settings, made.backbones),
            backbone_files=made.folder,
            functions=request.functions,
            display=request.display,
            extension=extension,
        )
        result = run_search(search, start, resume=earlier is not None, on_start=on_start)
        if log is not None:
            log.finish(result)
    return Run(run.uri, result)


def _log(run: Directory, start: Start, request: RunRequest) -> MlflowLog | None:
    if request.mlflow is None:
        return None
    return MlflowLog(request.mlflow, run, start.started, experiment=request.mlflow_experiment)
