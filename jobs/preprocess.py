"""Folders of images -> a data directory.

spark-submit jobs/preprocess.py                                  # draws the sample data set
spark-submit jobs/preprocess.py --images DIR --out DATA          # one folder a class, at any depth
"""

import argparse
import hashlib
import re
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

from cnn.cli import Parser, run_job
from cnn.dataset import check_out, existing_dataset, make_dataset
from cnn.listing import Listing, list_images
from cnn.manifest import DataSettings, Manifest, Source
from cnn.sample import write_sample
from cnn.session import spark_session
from cnn.settings import InputError, validate
from cnn.storage import Directory

SAMPLE_PAIRS = 240
SAMPLE = Source(name="sample data set, drawn by cnn/sample.py", licence="Apache-2.0")


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    def choices(key: str) -> tuple[str, ...]:
        return get_args(DataSettings.model_fields[key].annotation)

    parser = Parser(description="Decodes folders of images, one a class, into a data directory.")
    add = parser.add_argument
    images = parser.add_mutually_exclusive_group()
    images.add_argument("--images", metavar="DIR", type=Path, help="holds one folder a class")
    images.add_argument(
        "--sample",
        metavar="N",
        type=int,
        default=SAMPLE_PAIRS,
        help="draw N pairs of a face and its comic (the default, with N = %(default)s)",
    )
    add("--out", metavar="DATA", default="data", help="default: %(default)s")
    add("--classes", metavar="A,B", help="the classes in the order of their labels")
    add("--image-size", type=int, default=128, help="default: %(default)s")
    add("--color-mode", choices=choices("color_mode"), default="grayscale")
    add("--test-fraction", type=float, default=0.2, help="default: %(default)s")
    add(
        "--group",
        choices=choices("group"),
        default="auto",
        help="what a split must not tear apart; auto: files with the same stem where all classes "
        "have the same stems, otherwise each file by itself",
    )
    add("--group-regex", help="its first group, or the whole match, in a path is the image's group")
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
    if args.images is None:
        preprocess_sample(args.sample, out, settings, overwrite=args.overwrite)
    else:
        listing = list_images(args.images, settings)
        source = Source(name=args.images.resolve().name)
        preprocess(args.images, out, settings, listing, source, overwrite=args.overwrite)


def preprocess_sample(
    pairs: int, out: Directory, settings: DataSettings, *, overwrite: bool
) -> None:
    if pairs < 1:
        raise InputError(f"--sample must be 1 or more, but got {pairs}")
    inputs = hashlib.sha256(f"sample {pairs} {settings.model_dump_json()}".encode()).hexdigest()
    if _in_place(out, inputs):
        return
    check_out(out, overwrite=overwrite)
    # Beside the data set, where executors on other machines can see the images as well.
    beside = (out.local_path or Path.cwd()).parent
    beside.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".sample-", dir=beside) as folder:
        print(f"drawing the sample: {pairs} faces and {pairs} comics", flush=True)
        root = Path(folder)
        write_sample(root, pairs, seed=settings.seed)
        listing = list_images(root, settings)._replace(inputs=inputs)
        preprocess(root, out, settings, listing, SAMPLE, overwrite=overwrite)


def preprocess(
    root: Path,
    out: Directory,
    settings: DataSettings,
    listing: Listing,
    source: Source,
    *,
    overwrite: bool,
) -> None:
    if _in_place(out, listing.inputs):
        return
    check_out(out, overwrite=overwrite)
    print(f"{len(listing.files)} images of {', '.join(listing.classes)}", flush=True)
    with spark_session("cnn preprocess") as spark:
        manifest = make_dataset(
            spark, root, out, settings, listing, source=source, sample=source is SAMPLE
        )
    report(out, manifest)


def _in_place(out: Directory, inputs: str) -> bool:
    """Whether this very data set is there already; then there is nothing to do."""
    manifest = existing_dataset(out, inputs)
    if manifest is not None:
        print(f"the data set in {out.uri} was made from these images and settings: nothing to do")
    return manifest is not None


def report(out: Directory, manifest: Manifest) -> None:
    """Says what became of every file."""
    width = max(len(name) for name in manifest.classes)
    for name in manifest.classes:
        train, test = (manifest.counts[split][name] for split in ("train", "test"))
        print(f"  {name:{width}}  {train:>8} train  {test:>8} test")
    print(
        f"{manifest.groups} groups, {manifest.duplicates} duplicates, {manifest.rejects} rejected, "
        f"{manifest.ignored} other files ignored"
    )
    print(f"data set written to {out.uri} in {manifest.seconds:.1f} s")


if __name__ == "__main__":
    run_job(main)
