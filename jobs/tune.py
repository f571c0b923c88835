"""A data directory -> the best CNN for it, and a run directory that shows why.

spark-submit jobs/tune.py                                        # reads data/, writes runs/<time>/
spark-submit jobs/tune.py --data DATA --out RUN --config conf/report.toml --max-trials 50
spark-submit jobs/tune.py --resume RUN                           # goes on where its driver died
"""

import argparse
import dataclasses
import json
import sys
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from cnn.cli import Parser, go_on_with, redacted, run_job
from cnn.config import CONF_DIR, load_settings, resume_settings
from cnn.journal import Start, claim_run, read_start, recover_trials
from cnn.manifest import Manifest, read_manifest
from cnn.mlflow_tracking import EXPERIMENT, MlflowLog, check_mlflow, log_finished
from cnn.outcome import RESULT
from cnn.phase import Search
from cnn.preflight import SETTINGS, check_inputs, check_run_dir, warm_start
from cnn.report import REPORT, write_report
from cnn.results import now, read_trials
from cnn.session import TUNE, spark_session
from cnn.settings import InputError, Settings
from cnn.storage import Directory
from cnn.tuning import default_run_dir, run_search

# The flags that are keys of [search].
FLAGS = ("parallelism", "max_trials", "timeout", "seed")


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = Parser(description="Searches the best CNN for a data directory, trains and tests it.")
    add = parser.add_argument
    add("--data", help="what jobs/preprocess.py wrote; default: data")
    add("--out", metavar="RUN", help="the run directory; default: runs/<time>")
    add(
        "--config",
        metavar="FILE",
        type=Path,
        action="append",
        default=[],
        help="a TOML file laid over conf/default.toml; repeatable, the last one wins",
    )
    add("--parallelism", metavar="N", type=int, help="trials at a time; default: all slots")
    add("--max-trials", metavar="N", type=int, help="of each phase")
    add("--timeout", metavar="SECONDS", type=float, help="of the whole search")
    add("--seed", type=int, help="of the configurations and the trainings")
    add(
        "--set",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        dest="assignments",
        help="any setting, such as search.epochs=20 or phases.0.epochs=1; repeatable",
    )
    add("--final-workers", metavar="N", type=int, help="executors that train the winner together")
    add("--cache-dir", metavar="DIR", help="on each host; default: Spark's first local directory")
    add("--warm-start", metavar="RUN", help="try the best of an earlier run first")
    add("--resume", metavar="RUN", help="go on with a run that was not finished")
    add("--mlflow", metavar="URI", help="log to this MLflow server; needs the extra [mlflow]")
    add("--mlflow-experiment", metavar="NAME", help=f"default: {EXPERIMENT}")
    add("--overwrite", action="store_true", help="replace the run at --out")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str]) -> None:
    args = parse(arguments)
    flags = {key: getattr(args, key) for key in FLAGS}
    if args.final_workers is not None:
        args.assignments.append(f"final.workers={args.final_workers}")
    if args.cache_dir is not None:
        args.assignments.append(f"cache.dir={json.dumps(str(Path(args.cache_dir).absolute()))}")
    if args.mlflow is not None:
        check_mlflow(args.mlflow)
    elif args.mlflow_experiment is not None:
        raise InputError("--mlflow-experiment must stand with --mlflow")
    if args.resume is not None:
        _resume(args, flags)
        return
    data, run = Directory(args.data or "data"), Directory(args.out or default_run_dir())
    # The sample is there to be quick; a search that was asked for by name is run as it stands.
    configs = args.config or _sample_config(data)
    settings = load_settings(configs, flags=flags, assignments=args.assignments)
    if args.warm_start is not None:
        settings = warm_start(settings, Directory(args.warm_start))
    manifest = check_inputs(data, settings)
    names = ["default.toml", *(path.name for path in configs)]
    start = Start(
        data=data.uri,
        fingerprint=manifest.fingerprint,
        started=now(),
        configs=tuple(names),
        command=(Path(sys.argv[0]).name, *_recorded(arguments, args.mlflow)),
    )
    check_run_dir(run, overwrite=args.overwrite)
    with claim_run(run):
        check_run_dir(run, overwrite=args.overwrite)
        print(f"settings: {' + '.join(names)}", flush=True)
        _run(data, run, settings, manifest, start, _mlflow(args, run, start))


def _resume(args: argparse.Namespace, flags: Mapping[str, Any]) -> None:
    for name in ("out", "config", "overwrite", "warm_start"):
        if getattr(args, name):
            flag = name.replace("_", "-")
            raise InputError(f"--resume must stand without --{flag}: a run has its own settings")
    run = Directory(args.resume)
    start = read_start(run)
    if run.exists(RESULT):
        if not run.exists(REPORT):
            write_report(run)
        log = _mlflow(args, run, start)
        if log is not None:
            log_finished(log, read_trials(run), json.loads(run.read(RESULT)))
        print(f"the run had finished\nreport: {run.uri}/{REPORT}")
        return
    settings = resume_settings(
        run.read(SETTINGS).decode(), flags=flags, assignments=args.assignments
    )
    data = Directory(args.data or start.data)
    manifest = check_inputs(data, settings)
    if manifest.fingerprint != start.fingerprint:
        raise InputError(
            f"--resume must find the data that the run began on, but {data.uri} holds other rows"
        )
    with claim_run(run):
        _run(data, run, settings, manifest, start, _mlflow(args, run, start), resume=True)


def _run(
    data: Directory,
    run: Directory,
    settings: Settings,
    manifest: Manifest,
    start: Start,
    log: MlflowLog | None,
    *,
    resume: bool = False,
) -> None:
    earlier = recover_trials(run, settings) if resume else []
    if resume:
        done = sum(trial.status != "cancelled" for trial in earlier)
        print(f"resuming {run.uri}: {done} trials are done", flush=True)
    command = ["./spark-submit.sh", "jobs/tune.py", "--resume", run.uri]

    def begun() -> None:
        go_on_with(*command, *(["--mlflow", log.uri] if log else []))
        if log is not None:
            log.begin()

    # Spark's machines are not held while a slow server takes in the rest.
    with log or nullcontext(), spark_session("cnn tune", TUNE) as spark:
        search = Search(spark, data, run, settings, manifest, earlier, print)
        if log is not None:
            search = dataclasses.replace(search, on_trial=log.add)
        result = run_search(search, start, resume=resume, on_start=begun)
        if log is not None:
            log.finish(result)
    if not any(attempt["accepted"] for attempt in result["final"]["attempts"]):
        print("every training of the winner fell far below its trial: the report says more")
    test = result["test"]
    low, high = test["interval"]["low"], test["interval"]["high"]
    print(
        f"test accuracy {test['accuracy']:.4f} on {test['count']} images "
        f"(95 % interval {low:.4f} to {high:.4f})"
    )
    print(f"report: {run.uri}/{REPORT}")


def _mlflow(args: argparse.Namespace, run: Directory, start: Start) -> MlflowLog | None:
    if args.mlflow is None:
        return None
    return MlflowLog(args.mlflow, run, start.started, experiment=args.mlflow_experiment)


def _recorded(arguments: Sequence[str], uri: str | None) -> list[str]:
    """The command line as it is kept, without the credentials that the server's URI may hold."""
    return [a.replace(uri, redacted(uri)) if uri else a for a in arguments]


def _sample_config(data: Directory) -> list[Path]:
    manifest = read_manifest(data)
    return [CONF_DIR / "sample.toml"] if manifest.sample else []


if __name__ == "__main__":
    run_job(main)
