"""A data directory -> the best CNN for it, and a run directory that shows why.

spark-submit jobs/tune.py                                        # reads data/, writes runs/<time>/
spark-submit jobs/tune.py --data DATA --out RUN --config conf/report.toml --max-trials 50
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from cnn.cli import Parser, run_job
from cnn.config import CONF_DIR, load_settings
from cnn.manifest import read_manifest
from cnn.preflight import check_inputs, check_run_dir
from cnn.session import TUNE, spark_session
from cnn.storage import Directory
from cnn.tuning import default_run_dir, run_search

# The flags that are keys of [search].
FLAGS = ("parallelism", "max_trials", "timeout", "seed")


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = Parser(description="Searches the best CNN for a data directory, trains and tests it.")
    add = parser.add_argument
    add("--data", default="data", help="what jobs/preprocess.py wrote; default: %(default)s")
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
    add("--overwrite", action="store_true", help="replace the run at --out")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str]) -> None:
    args = parse(arguments)
    data, run = Directory(args.data), Directory(args.out or default_run_dir())
    # The sample is there to be quick; a search that was asked for by name is run as it stands.
    configs = args.config or _sample_config(data)
    settings = load_settings(
        configs,
        flags={key: getattr(args, key) for key in FLAGS},
        assignments=args.assignments,
    )
    manifest = check_inputs(data, settings)
    check_run_dir(run, overwrite=args.overwrite)
    names = ["default.toml", *(path.name for path in configs)]
    print(f"settings: {' + '.join(names)}", flush=True)
    with spark_session("cnn tune", TUNE) as spark:
        result = run_search(
            spark,
            data,
            run,
            settings,
            manifest,
            configs=names,
            command=[Path(sys.argv[0]).name, *arguments],
        )
    test = result["test"]
    low, high = test["interval"]["low"], test["interval"]["high"]
    print(
        f"test accuracy {test['accuracy']:.4f} on {test['count']} images "
        f"(95 % interval {low:.4f} to {high:.4f})"
    )
    print(f"report: {run.uri}/report.html")


def _sample_config(data: Directory) -> list[Path]:
    manifest = read_manifest(data)
    return [CONF_DIR / "sample.toml"] if manifest.sample else []


if __name__ == "__main__":
    run_job(main)
