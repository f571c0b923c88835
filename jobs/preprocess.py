"""Folders of images -> a data directory.

spark-submit jobs/preprocess.py                                  # draws the sample data set
spark-submit jobs/preprocess.py --images DIR --out DATA          # one folder a class, at any depth
spark-submit jobs/preprocess.py --kaggle OWNER/NAME --out DATA   # fetched from Kaggle
"""

import argparse
import hashlib
import re
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

from pyspark.sql import SparkSession

from cnn.cli import Parser, run_job
from cnn.commit import beside, check_out, claim
from cnn.dataset import describe_rejects, existing_dataset, make_dataset, read_rejects
from cnn.hadoop import SparkReader
from cnn.listing import Listing
from cnn.manifest import MANIFEST, DataSettings, Manifest, Source
from cnn.readers import FileReader, Reader
from cnn.sample import write_sample
from cnn.session import spark_session
from cnn.settings import InputError, validate
from cnn.sources import fetch_kaggle
from cnn.storage import Directory

APPLICATION = "cnn preprocess"
SAMPLE_PAIRS = 240
SAMPLE = Source(name="sample data set, drawn by cnn/sample.py", licence="Apache-2.0")


def parse(arguments: Sequence[str]) -> argparse.Namespace:
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
        default=Path("downloads"),
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
    add("--test-fraction", type=float, default=0.2, help="default: %(default)s")
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


def settings_from(args: argparse.Namespace) -> DataSettings:
    if args.group_regex is not None:
        try:
            re.compile(args.group_regex)
        except re.error as error:
            raise InputError(
                f"--group-regex must be a regular expression, but got {args.group_regex!r}: {error}"
            ) from None
    given = {key: getattr(args, key) for key in DataSettings.model_fields}
    if args.classes is not None:
        given["classes"] = tuple(args.classes.split(","))
    return validate(DataSettings, given, lambda key: f"--{key.replace('_', '-')}")


def main(arguments: Sequence[str]) -> None:
    args = parse(arguments)
    settings = settings_from(args)
    out = Directory(args.out)
    if args.kaggle is not None:
        folder, source = fetch_kaggle(args.kaggle, args.download_dir)
        preprocess_folder(folder, out, settings, source, overwrite=args.overwrite)
    elif args.images is None:
        preprocess_sample(args.sample, out, settings, overwrite=args.overwrite)
    elif "://" in args.images:
        preprocess_uri(args.images, out, settings, overwrite=args.overwrite)
    else:
        folder = Path(args.images)
        source = Source(name=folder.resolve().name)
        preprocess_folder(folder, out, settings, source, overwrite=args.overwrite)


def preprocess_sample(
    pairs: int, out: Directory, settings: DataSettings, *, overwrite: bool
) -> None:
    if pairs < 1:
        raise InputError(f"--sample must be 1 or more, but got {pairs}")
    inputs = hashlib.sha256(f"sample {pairs} {settings.model_dump_json()}".encode()).hexdigest()
    with claim(out):
        if not _wanted(out, inputs, overwrite=overwrite):
            return
        # Beside the data set, where executors on other machines can see the images as well.
        images = beside(out, "partial")
        try:
            print(f"drawing the sample: {pairs} faces and {pairs} comics", flush=True)
            root = images.local_path or Path(images.uri)
            write_sample(root, pairs, seed=settings.seed)
            reader = FileReader(root)
            listing = reader.find(settings)._replace(inputs=inputs)
            with spark_session(APPLICATION) as spark:
                preprocess(spark, reader, out, settings, listing, SAMPLE)
        finally:
            images.remove()


def preprocess_folder(
    folder: Path, out: Directory, settings: DataSettings, source: Source, *, overwrite: bool
) -> None:
    reader = FileReader(folder)
    listing = reader.find(settings)
    with claim(out):
        if _wanted(out, listing.inputs, overwrite=overwrite):
            with spark_session(APPLICATION) as spark:
                preprocess(spark, reader, out, settings, listing, source)


def preprocess_uri(uri: str, out: Directory, settings: DataSettings, *, overwrite: bool) -> None:
    """Images that Spark alone can reach: it lists them as well."""
    with spark_session(APPLICATION) as spark:
        reader = SparkReader(spark, uri)
        listing = reader.find(settings)
        with claim(out):
            if _wanted(out, listing.inputs, overwrite=overwrite):
                preprocess(spark, reader, out, settings, listing, Source(name=uri))


def preprocess(
    spark: SparkSession,
    reader: Reader,
    out: Directory,
    settings: DataSettings,
    listing: Listing,
    source: Source,
) -> None:
    listed = len(listing.files) + len(listing.rejects)
    print(f"{listed:,} files of {', '.join(listing.classes)}", flush=True)
    manifest = make_dataset(
        spark, reader, out, settings, listing, source=source, sample=source is SAMPLE
    )
    report(out, manifest)


def _wanted(out: Directory, inputs: str, *, overwrite: bool) -> bool:
    """Whether this very data set is still to be made; raises InputError where one is in the way."""
    if existing_dataset(out, inputs) is not None:
        print(f"the data set in {out.uri} was made from these images and settings: nothing to do")
        return False
    check_out(out, overwrite=overwrite, marker=MANIFEST, kind="a data set")
    return True


def report(out: Directory, manifest: Manifest) -> None:
    """Says what became of every file that was listed."""
    width = max(len(name) for name in (*manifest.classes, "rejected"))
    for name in manifest.classes:
        train, test = (manifest.counts[split][name] for split in ("train", "test"))
        print(f"  {name:{width}}  {train:>9,} train  {test:>9,} test")
    print(f"  {'rejected':{width}}  {manifest.rejects:>9,}")
    for line in describe_rejects(read_rejects(out)):
        print(textwrap.indent(line, " " * (width + 6)))
    print(f"  {'listed':{width}}  {manifest.listed:>9,}", end="")
    print(f"  and {manifest.ignored:,} others ignored" if manifest.ignored else "")
    print(f"{manifest.groups:,} groups, {manifest.duplicates:,} duplicates")
    print(f"data set written to {out.uri} in {manifest.seconds:.1f} s")


if __name__ == "__main__":
    run_job(main)
