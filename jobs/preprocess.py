"""Folders of images -> a data directory.

spark-submit jobs/preprocess.py                                  # draws the sample data set
spark-submit jobs/preprocess.py --images DIR --out DATA          # one folder a class, at any depth
spark-submit jobs/preprocess.py --images DIR/train --test-images DIR/test --out DATA
spark-submit jobs/preprocess.py --kaggle OWNER/NAME --out DATA   # fetched from Kaggle
"""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

from cnn.core.cli import Parser, quoted, run_job
from cnn.settings.defaults import DOWNLOADS, SAMPLE_PAIRS
from cnn.spark.machine import prepare


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    from cnn.data.manifest import DataSettings

    def choices(key: str) -> tuple[str, ...]:
        return get_args(DataSettings.model_fields[key].annotation)

    parser = Parser(description="Decodes folders of images, one a class, into a data directory.")
    add = parser.add_argument
    images = parser.add_mutually_exclusive_group()
    images.add_argument(
        "--images",
        metavar="DIR",
        help="holds one folder a class; a path, or a URI that Spark can read",
    )
    images.add_argument(
        "--sample",
        metavar="N",
        type=int,
        default=SAMPLE_PAIRS,
        help="draw N pairs of a face and its comic (the default, with N = %(default)s)",
    )
    images.add_argument(
        "--kaggle", metavar="OWNER/NAME", help="a data set on Kaggle, fetched unless it is there"
    )
    add(
        "--download-dir",
        metavar="DIR",
        type=Path,
        default=DOWNLOADS,
        help="where --kaggle puts what it fetches; default: %(default)s",
    )
    add("--out", metavar="DATA", default="data", help="default: %(default)s")
    add("--classes", metavar="A,B", help="the classes in the order of their labels")
    add("--image-size", type=int, default=128, help="default: %(default)s")
    add("--color-mode", choices=choices("color_mode"), default="grayscale")
    add(
        "--fit",
        choices=choices("fit"),
        default="stretch",
        help="what becomes of images that are not square; default: %(default)s",
    )
    add(
        "--background",
        metavar="auto|white|black|R,G,B",
        default="auto",
        help="what transparency is laid on; auto: white, or black where what is to be seen is so "
        "light that it would vanish on white; default: %(default)s",
    )
    add(
        "--value-range",
        metavar="LOW,HIGH",
        help="which values of 16-bit, 32-bit and floating-point images become black and white; "
        "--value-range=LOW,HIGH where LOW is negative; default: the range of the training images",
    )
    add(
        "--test-fraction",
        type=float,
        help=f"default: {DataSettings.model_fields['test_fraction'].default}",
    )
    add(
        "--test-images",
        metavar="DIR",
        help="an official test set: its folders have the classes of --images, all of it becomes "
        "the test split, and none is drawn; it may lie below --images",
    )
    add(
        "--folders",
        choices=choices("folders"),
        default="ask",
        help="what becomes of folders that look like a split, such as train/ and test/ with the "
        "same classes; ask: they are refused, with a command for either reading; ignore: they are "
        "merged and split anew; default: %(default)s",
    )
    add(
        "--group",
        choices=choices("group"),
        default="auto",
        help="what a split must not tear apart; auto: files with the same stem where all classes "
        "have the same stems, otherwise each file by itself",
    )
    add("--group-regex", help="its first group, or the whole match, in a path is the image's group")
    add(
        "--split",
        choices=choices("split"),
        default="exact",
        help="exact: as many test images as asked; stable: nearly as many, and images that are "
        "added later move no old one between train and test; default: %(default)s",
    )
    add("--max-rejects", type=float, default=0.01, help="a fraction, or a number from 1 on")
    add("--seed", type=int, default=0, help="of the split and the shuffle; default: %(default)s")
    add("--overwrite", action="store_true", help="replace the data set at --out")
    return parser.parse_args(arguments)


def command(flags: Mapping[str, Any]) -> str:
    """The command line that gives these values, for a shell; None is not given."""
    words = ["./spark-submit.sh", "jobs/preprocess.py"]
    for key, default in vars(parse([])).items():
        flag, value = f"--{key.replace('_', '-')}", flags[key]
        if value is True:
            words.append(flag)
        elif value is not None and value != default:
            # What begins with a dash would be another flag.
            words += [f"{flag}={value}"] if str(value).startswith("-") else [flag, str(value)]
    return " ".join(map(quoted, words))


def main(arguments: Sequence[str]) -> None:
    args = parse(arguments)
    prepare()
    from cnn.core.directory import reachable
    from cnn.data.manifest import DataSettings
    from cnn.data.preprocess import Origin, data_settings, preprocess
    from cnn.spark.session import PREPROCESS, spark_session

    named = {key: getattr(args, key) for key in DataSettings.model_fields}
    given = {key: value for key, value in named.items() if value is not None}
    if args.classes is not None:
        given["classes"] = tuple(args.classes.split(","))
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
    )
    if made.new:
        print(made)
        print(f"data set written to {made.path} in {made.manifest.seconds:.1f} s")


if __name__ == "__main__":
    run_job(main)
