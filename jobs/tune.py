"""Searches for the best CNN for a data directory, and writes a run directory with its report.

spark-submit jobs/tune.py                                        # reads data/, writes runs/<time>/
spark-submit jobs/tune.py --data DATA --out RUN --config conf/report.toml --max-trials 50
spark-submit jobs/tune.py --resume RUN                           # resumes an unfinished run
spark-submit jobs/tune.py --extend RUN --max-trials 30           # a finished run: 30 more trials
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cnn.core.cli import Parser, run_job, set_resume_command
from cnn.core.console import redacted
from cnn.core.errors import InputError, Option
from cnn.settings.cli_defaults import EXPERIMENT
from cnn.spark.machine import prepare

if TYPE_CHECKING:
    from cnn.core.directory import Directory

# The flags that are keys of [search].
FLAGS = ("parallelism", "max_trials", "timeout", "seed")
# The flags that only a new run can have.
OF_A_NEW_RUN = ("backbone", "overwrite", "warm_start")


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = Parser(
        description="Searches for the best CNN for a data directory, trains it and tests it."
    )
    add = parser.add_argument
    add("--data", help="a data directory, from jobs/preprocess.py; default: data")
    add("--out", metavar="RUN", help="the run directory; default: runs/<time>")
    add(
        "--config",
        metavar="FILE",
        type=Path,
        action="append",
        default=[],
        help="a TOML file that overrides conf/default.toml; repeatable, the last takes precedence",
    )
    add("--parallelism", metavar="N", type=int, help="concurrent trials; default: all slots")
    add(
        "--max-trials",
        metavar="N",
        type=int,
        help="trials of each phase; with --extend, how many more the last phase gets",
    )
    add("--timeout", metavar="SECONDS", type=float, help="time limit of the whole search")
    add("--seed", type=int, help="seed of the configurations and of every training")
    add(
        "--set",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        dest="assignments",
        help="any setting, such as search.epochs=20 or phases.0.epochs=1; repeatable",
    )
    add(
        "--backbone",
        metavar="NAME|PATH",
        action="append",
        default=[],
        help="a pretrained network to search heads for, beside networks from scratch: a name of "
        "keras.applications, or a .keras file; repeatable",
    )
    add("--final-workers", metavar="N", type=int, help="executors that train the winner together")
    add(
        "--cache-dir",
        metavar="DIR",
        help="where each host caches images; default: Spark's first local directory",
    )
    add(
        "--warm-start",
        metavar="RUN",
        action="append",
        default=[],
        help="use what an earlier run found, also on other data; repeatable",
    )
    add("--resume", metavar="RUN", help="resume a run that was not finished")
    add(
        "--extend",
        metavar="RUN",
        help="go on with a finished run: with --max-trials more trials, also in a wider space that "
        "has all its trials in it",
    )
    add("--mlflow", metavar="URI", help="log to this MLflow server; needs the extra [mlflow]")
    add("--mlflow-experiment", metavar="NAME", help=f"default: {EXPERIMENT}")
    add("--overwrite", action="store_true", help="replace an earlier run at --out")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str]) -> None:
    args = parse(arguments)
    prepare()
    from cnn.core.directory import reachable
    from cnn.search.mlflow import check_mlflow
    from cnn.search.run_search import default_run_dir
    from cnn.spark.session import TUNE, spark_session
    from cnn.start import RunRequest, extend_run, resume_run, start_run

    flags = {key: getattr(args, key) for key in FLAGS}
    if args.final_workers is not None:
        args.assignments.append(f"final.workers={args.final_workers}")
    if args.cache_dir is not None:
        args.assignments.append(f"cache.dir={json.dumps(str(Path(args.cache_dir).absolute()))}")
    if args.mlflow is not None:
        check_mlflow(args.mlflow)
    elif args.mlflow_experiment is not None:
        raise InputError(
            "{} must be used with {}, but was given without it",
            Option("mlflow_experiment"),
            Option("mlflow"),
        )
    request = RunRequest(
        configs=args.config,
        flags=flags,
        backbones=args.backbone,
        assignments=args.assignments,
        command=("jobs/tune.py", *_recorded(arguments, args.mlflow)),
        mlflow=args.mlflow,
        mlflow_experiment=args.mlflow_experiment,
        on_start=lambda run: set_resume_command(*_resuming(run, args.mlflow)),
    )
    session = spark_session("cnn tune", TUNE)
    if args.resume is not None:
        _check_alone(args, "resume", ("extend", "out", *OF_A_NEW_RUN, "config"))
        data = reachable(args.data) if args.data else None
        run = resume_run(session, reachable(args.resume), request, data=data)
    elif args.extend is not None:
        _check_alone(args, "extend", ("out", *OF_A_NEW_RUN))
        data = reachable(args.data) if args.data else None
        run = extend_run(session, reachable(args.extend), request, data=data)
    else:
        run = start_run(
            session,
            reachable(args.data or "data"),
            reachable(args.out or default_run_dir()),
            request,
            earlier=[reachable(earlier) for earlier in args.warm_start],
            overwrite=args.overwrite,
        )
    print(run.summary() if run.new else f"report: {run.report}")


def _check_alone(args: argparse.Namespace, option: str, others: Sequence[str]) -> None:
    for name in others:
        if getattr(args, name):
            raise InputError(
                "{} cannot be combined with {}: a run has its own settings",
                Option(option),
                Option(name),
            )


def _resuming(run: "Directory", mlflow: str | None) -> list[str]:
    """The command that resumes a run."""
    command = ["./spark-submit.sh", "jobs/tune.py", "--resume", run.uri]
    return command if mlflow is None else [*command, "--mlflow", redacted(mlflow)]


def _recorded(arguments: Sequence[str], uri: str | None) -> list[str]:
    """The command line to be stored, without credentials in the URI of the MLflow server."""
    words = [word.replace(uri, redacted(uri)) if uri else word for word in arguments]
    # JSON cannot contain bytes that are not UTF-8: escape them.
    return [word.encode(errors="backslashreplace").decode() for word in words]


if __name__ == "__main__":
    run_job(main)
