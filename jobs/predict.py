"""Classifies new images with a run's model, and writes a directory of predictions.

spark-submit jobs/predict.py --model RUN --images DIR --out OUT
spark-submit jobs/predict.py --model RUN --images s3a://bucket/new --out OUT --csv
"""

import argparse
import shutil
import sys
import textwrap
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from cnn.core.cli import Parser, run_job
from cnn.core.console import say
from cnn.settings.cli_defaults import CSV
from cnn.spark.machine import prepare

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from cnn.core.directory import Directory
    from cnn.data.sources.listing import Gathered
    from cnn.data.sources.source import ImageSource
    from cnn.model.card import ModelCard
    from cnn.model.predict import Summary


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = Parser(description="Classifies new images with the model of a run.")
    add = parser.add_argument
    add("--model", metavar="RUN", required=True, help="a run directory, from jobs/tune.py")
    add(
        "--images",
        metavar="DIR",
        required=True,
        help="a folder with images at any depth, or one image; a path, or a URI that Spark can "
        "read. If folders have the names of classes, they are compared with the predictions",
    )
    add("--out", metavar="OUT", required=True, help="the directory of predictions/ and rejects/")
    add("--csv", action="store_true", help=f"also write {CSV}")
    add("--overwrite", action="store_true", help="replace earlier predictions at --out")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str]) -> None:
    args = parse(arguments)
    prepare()
    from cnn.core.commit import check_out, claim
    from cnn.core.directory import reachable
    from cnn.data.sources.source import needs_spark, source_of
    from cnn.model.card import read_card
    from cnn.model.file_check import check_model_file
    from cnn.model.predict import MARKER
    from cnn.spark.session import PREDICT, spark_session

    run, out = reachable(args.model), reachable(args.out)
    card = read_card(run)
    check_model_file(run)
    with claim(out, MARKER), ExitStack() as sessions:
        check_out(out, overwrite=args.overwrite, marker=MARKER, kind="predictions")
        session = spark_session("cnn predict", PREDICT)
        # What can be listed without Spark is, so that what is wrong is said at once.
        spark = sessions.enter_context(session) if needs_spark(args.images) else None
        images = source_of(args.images, spark)
        found = images.gather_new()
        spark = spark or sessions.enter_context(session)
        predict(spark, run, card, images, found, out, csv=args.csv)


def predict(
    spark: "SparkSession",
    run: "Directory",
    card: "ModelCard",
    images: "ImageSource",
    found: "Gathered",
    out: "Directory",
    *,
    csv: bool,
) -> None:
    from cnn.data.sources.passed_over import describe_passed_over
    from cnn.model.predict import predict_images

    started = time.monotonic()
    print(f"{len(found.files) + len(found.rejects):,} files", flush=True)
    for line in describe_passed_over(found.passed_over):
        print(line, flush=True)
    with _bar() as show:
        done = predict_images(spark, run, card, images, found, out, csv=csv, progress=show)
    report(done, card, out, csv=csv)
    print(f"predictions written to {out.uri} in {time.monotonic() - started:.1f} s")


@contextmanager
def _bar() -> Iterator[Callable[[int, int], None]]:
    """Shows progress: on a terminal as a bar, elsewhere as a line for each tenth."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        Progress,
        TaskProgressColumn,
        TextColumn,
        TimeRemainingColumn,
    )

    console = Console(file=sys.stdout, highlight=False)
    columns = TextColumn("classifying"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn()
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task, told = bar.add_task("", total=None), 0

        def show(done: int, total: int) -> None:
            nonlocal told
            bar.update(task, completed=done, total=total or None)
            if not console.is_terminal and total and 10 * done // total > told:
                told = 10 * done // total
                print(f"{10 * told} % of the images", flush=True)

        yield show


def report(done: "Summary", card: "ModelCard", out: "Directory", *, csv: bool) -> None:
    """Prints how many files were classified, and how often predictions match the folders' names."""
    from cnn.data.rejects import describe_rejects, kinds_of
    from cnn.model.confusion_text import confusion_lines
    from cnn.model.predict import PREDICTIONS
    from cnn.rundir.wilson import wilson_interval

    print(f"  {done.predicted:>9,} classified")
    print(f"  {len(done.rejects):>9,} rejected")
    for line in describe_rejects(kinds_of(done.rejects)):
        print(textwrap.indent(line, " " * 14))
    count, right = int(done.confusion.sum()), int(done.confusion.trace())
    if not count:
        return
    low, high = wilson_interval(right, count)
    say(
        f"accuracy {right / count:.4f} on {count:,} images in folders named after classes "
        f"(95 % confidence interval {low:.4f} to {high:.4f})"
    )
    where = f"{out.uri}/{CSV if csv else PREDICTIONS}"
    width = shutil.get_terminal_size().columns
    for line in confusion_lines(card.classes, done.confusion, width=width, where=where):
        print(line)


if __name__ == "__main__":
    run_job(main)
