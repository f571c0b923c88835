"""Decodes folders of images into a data directory.

spark-submit jobs/preprocess.py                                  # draws the sample data set
spark-submit jobs/preprocess.py --images DIR --out DATA          # one folder per class
spark-submit jobs/preprocess.py --images DIR/train --test-images DIR/test --out DATA
spark-submit jobs/preprocess.py --images DIR --folders given --out DATA    # keeps train/, test/
spark-submit jobs/preprocess.py --images DIR --labels FILE       # labels in a table
spark-submit jobs/preprocess.py --kaggle OWNER/NAME --out DATA   # downloads from Kaggle
spark-submit jobs/preprocess.py --images DIR --check             # only looks, and shows a page
"""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

from cnn.core.cli import Parser, quoted, run_job
from cnn.settings.cli_defaults import DOWNLOADS, SAMPLE_PAIRS
from cnn.spark.machine import prepare


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    from cnn.data.data_settings import DataSettings

    def choices(key: str) -> tuple[str, ...]:
        return get_args(DataSettings.model_fields[key].annotation)

    def default(key: str) -> object:
        return DataSettings.model_fields[key].default

    parser = Parser(description="Decodes images, one folder per class, into a data directory.")
    add = parser.add_argument
    images = parser.add_mutually_exclusive_group()
    images.add_argument(
        "--images",
        metavar="DIR",
        help="a folder with one folder per class; a path, or a URI that Spark can read",
    )
    images.add_argument(
        "--sample",
        metavar="N",
        type=int,
        default=SAMPLE_PAIRS,
        help="draw N pairs of a face and its comic (the default, with N = %(default)s)",
    )
    images.add_argument(
        "--kaggle", metavar="OWNER/NAME", help="a data set on Kaggle, downloaded if necessary"
    )
    add(
        "--download-dir",
        metavar="DIR",
        type=Path,
        default=DOWNLOADS,
        help="the folder for downloads of --kaggle; default: %(default)s",
    )
    add("--out", metavar="DATA", default="data", help="the data directory; default: %(default)s")
    add("--classes", metavar="A,B", help="the classes, in the order of their labels")
    add(
        "--class-level",
        metavar="N",
        type=int,
        default=default("class_level"),
        help="which folder above an image names its class: 1 is the one that directly holds it, 2 "
        "the one above; default: %(default)s",
    )
    add(
        "--class-regex",
        metavar="R",
        help="a pattern for paths: its first group, or else its whole match, is an image's class; "
        "it must match every image",
    )
    add(
        "--exclude",
        metavar="GLOB",
        action="append",
        help="files or folders to leave out, as in a .gitignore file; repeatable",
    )
    add(
        "--lower-labels",
        action="store_true",
        help="merge classes whose names differ only in case, spaces or Unicode form",
    )
    add(
        "--map-labels",
        metavar="FILE",
        help="a CSV file with the columns from and to, which renames and so merges classes",
    )
    add(
        "--for",
        metavar="NAME|PATH",
        help="a backbone: sets the two options below to what it takes, unless they are given; a "
        "name of docs/backbones.md, or the path or URI of a .keras file",
    )
    add("--image-size", type=int, help=f"width and height; default: {default('image_size')}")
    add(
        "--color-mode",
        choices=choices("color_mode"),
        help=f"default: {default('color_mode')}",
    )
    add(
        "--fit",
        choices=choices("fit"),
        default="stretch",
        help="how images that are not square become square; default: %(default)s",
    )
    add(
        "--background",
        metavar="auto|white|black|R,G,B",
        default="auto",
        help="the colour behind transparent pixels; auto: white, or black for an image that is too "
        "light to be visible on white; default: %(default)s",
    )
    add(
        "--value-range",
        metavar="LOW,HIGH",
        help="the values of 16-bit, 32-bit and floating-point images that become black and white; "
        "--value-range=LOW,HIGH if LOW is negative; default: the range of the training images",
    )
    add(
        "--test-fraction",
        type=float,
        help=f"the fraction of images in the test split; default: {default('test_fraction')}",
    )
    add(
        "--test-images",
        metavar="DIR",
        help="an official test set, which becomes the test split as a whole; its folders must have "
        "the classes of --images; it may be inside --images",
    )
    add(
        "--labels",
        metavar="FILE",
        help="a table with the labels of the images in --images, or else in its own folder: CSV, "
        "TSV or Parquet; a path, or a URI that Spark can read",
    )
    usual = "by default the one with a usual name"
    add("--path-column", metavar="NAME", help=f"the table's column of image paths, {usual}")
    add("--label-column", metavar="NAME", help=f"its column of labels, {usual}")
    add(
        "--label-columns",
        metavar="A,B",
        help="one column for each class instead, with 1 for the class of an image and 0 otherwise",
    )
    add(
        "--group-column",
        metavar="NAME|none",
        help=f"its column of what a split keeps together, such as patients, {usual}",
    )
    add(
        "--split-column",
        metavar="NAME|none",
        help=f"its column that says train, validation or test, {usual}",
    )
    add(
        "--weight-column",
        metavar="NAME|none",
        help=f"its column of the images' weights in training, {usual}",
    )
    add(
        "--relabel",
        metavar="FILE",
        help="a CSV file with the columns path and label, which corrects the labels of images",
    )
    add(
        "--folders",
        metavar="ask|ignore|given|given,move-groups",
        choices=choices("folders"),
        default="ask",
        help="what to do with folders whose meaning is not clear; ask: stop and show a command for "
        "each meaning; given: keep a split in folders such as train/, val/ and test/; "
        "given,move-groups: also leave out training images whose group is in another part; ignore: "
        "take all folders as they stand, and merge those with the same name; default: %(default)s",
    )
    add(
        "--group",
        choices=choices("group"),
        default="auto",
        help="which images a split keeps together; auto: files with the same stem if nearly all "
        "stems are in all classes and the pictures look alike, otherwise none",
    )
    add(
        "--group-regex",
        help="a pattern for paths: its first group, or else its whole match, is an image's group",
    )
    add(
        "--near-duplicates",
        choices=choices("near_duplicates"),
        default="group",
        help="what to do with images that show the same picture, such as resized or recompressed "
        "copies; group: a split keeps them together; drop: only the first stays; keep: nothing; "
        "default: %(default)s",
    )
    add(
        "--split",
        choices=choices("split"),
        default="exact",
        help="exact: as many test images as requested; stable: nearly as many, and images that are "
        "added later move no other image between train and test; default: %(default)s",
    )
    add(
        "--max-rejects",
        type=float,
        default=0.01,
        help="how many files may be rejected: a fraction, or a number of at least 1",
    )
    add("--seed", type=int, default=0, help="seed of split and shuffle; default: %(default)s")
    add("--overwrite", action="store_true", help="replace an earlier data set at --out")
    add(
        "--check",
        action="store_true",
        help="look at everything, but write only a page that shows it, beside --out: "
        "DATA.check.html; a data set at --out stays as it is",
    )
    return parser.parse_args(arguments)


def command(flags: Mapping[str, Any]) -> str:
    """The command line with these values, quoted for a shell; None stands for no flag."""
    words = ["./spark-submit.sh", "jobs/preprocess.py"]
    for key, default in vars(parse([])).items():
        flag, value = f"--{key.replace('_', '-')}", flags[key]
        if value is True:
            words.append(flag)
        elif value is not None and value != default:
            for one in value if isinstance(value, list) else [value]:
                # A separate value that begins with a dash would be another flag.
                words += [f"{flag}={one}"] if str(one).startswith("-") else [flag, str(one)]
    return " ".join(map(quoted, words))


def main(arguments: Sequence[str]) -> None:
    args = parse(arguments)
    prepare()
    from cnn.core.directory import reachable
    from cnn.data.checked import Checked
    from cnn.data.data_settings import DataSettings
    from cnn.data.preprocess import Origin, data_settings, preprocess
    from cnn.report.data_page import render_data_page
    from cnn.spark.session import PREPROCESS, spark_session

    named = {key: getattr(args, key) for key in DataSettings.model_fields}
    given = {key: value for key, value in named.items() if value is not None}
    for key in ("classes", "label_columns"):
        if key in given:
            given[key] = tuple(given[key].split(","))
    backbone = getattr(args, "for")
    if backbone is not None:
        from cnn.model.backbone_card import image_settings

        given = image_settings(backbone, given)
    settings = data_settings(given)
    made = preprocess(
        spark_session("cnn preprocess", PREPROCESS),
        Origin(
            lambda changes: command({**vars(args), **changes}),
            args.images,
            args.kaggle,
            args.download_dir,
            args.sample,
        ),
        reachable(args.out),
        settings,
        overwrite=args.overwrite,
        page=render_data_page,
        check=args.check,
    )
    if isinstance(made, Checked):
        print(made)
        if made.problem is not None:
            print(f"warning: this would not become a data set: {made.problem}")
        print(f"no data set was written; open {made.page} in a browser")
    elif made.new:
        print(made)
        print(f"data set written to {made.path} in {made.manifest.seconds:.1f} s")
        print(f"open {made.page} in a browser to look at it")


if __name__ == "__main__":
    run_job(main)
