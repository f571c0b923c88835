"""How many flipped labels a search finds, next to plain ranking and to cleanlab.

    python tests/benchmarks/label_errors.py --backbone FILE --photos DIR --faces DIR
    python tests/benchmarks/label_errors.py drawn --seeds 0 1 2        # one of the sets

photos  --photos has a folder of photos for each class, at any depth; heads on --backbone
faces   the same with --faces
drawn   --count pairs of the drawn sample set, with networks from scratch
rule    the rule alone, on what scikit-learn's logistic regression on the features of --photos and
        --faces says in a cross-validation: for --many seeds, in a minute or two each

Of each set's images a share (--share, 0.05) gets the label of another class, by seed, in a copy
made of links. The copy is preprocessed and searched as a user would. Precision and recall are
those of the first images of RUN/suspects.csv, as many as were flipped, and of as many by other
rules on the same probabilities: the lowest probability of the label alone ("self-confidence"), and
cleanlab's `find_label_issues` as it comes, ranked by the normalised margin, if cleanlab is
installed (the extra `bench`). With three seeds this takes about half an hour on two cores.
"""

import argparse
import random
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

import backbone_peers as peers
import numpy as np
import pyarrow.parquet as pq
from backbones import frozen, job, preprocess, split

from cnn.core.directory import Directory
from cnn.data.sources.sample import write_sample
from cnn.data.splits import TEST, TRAIN
from cnn.rundir.result import read_result
from cnn.rundir.suspects import OUT_OF_FOLD, read_suspects
from cnn.rundir.test_predictions import TESTED
from cnn.train.label_errors import Answers, find_label_errors

IMAGES = {".jpg", ".jpeg", ".png"}
# Where in a file's name its true class ends.
MARK = "__"
# Networks from scratch in a few minutes.
SMALL_SEARCH = ("--max-trials", 8)


def flipped_copy(images: Path, copy: Path, share: float, seed: int) -> None:
    """Links to all images, named after their true class; a share lies in another class's folder."""
    files = sorted(path for path in images.rglob("*") if path.suffix.lower() in IMAGES)
    classes = sorted({path.parent.name for path in files})
    rng = random.Random(seed)
    chosen = set(rng.sample(range(len(files)), round(share * len(files))))
    for number, path in enumerate(files):
        true = path.parent.name
        label = rng.choice([name for name in classes if name != true]) if number in chosen else true
        link = copy / label / f"{true}{MARK}{number:06}{path.suffix}"
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(path.resolve())


def is_flipped(path: str) -> bool:
    label, _, name = path.rpartition("/")
    return name.partition(MARK)[0] != label


def judged(run: Path, classes: int) -> tuple[list[str], np.ndarray, np.ndarray]:
    """The images that were judged: paths, labels (n,), and probabilities (n, classes)."""
    trained = pq.read_table(run / OUT_OF_FOLD).to_pydict()
    tested = pq.read_table(run / TESTED).to_pydict()
    found = np.zeros((len(trained["path"]), classes))
    rows = np.arange(len(found))[:, None]
    found[rows, np.array(trained["classes"])] = trained["probabilities"]
    labels = np.array([*trained["label"], *tested["label"]])
    probabilities = np.concatenate([found, tested["probabilities"]])
    return [*trained["path"], *tested["path"]], labels, probabilities


def rule(backbone: str, images: Path, folder: Path, share: float, seeds: int) -> None:
    """Prints the means over many seeds for the rules alone."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    data = preprocess(folder, "--images", images, "--folders", "ignore", "--for", backbone)
    parts = [split(data, name) for name in (TRAIN, TEST)]
    features = peers.features(backbone, np.concatenate([part.pixels for part in parts]))
    true = np.concatenate([part.labels for part in parts])
    classes, count = int(true.max()) + 1, round(share * len(true))
    probe = make_pipeline(StandardScaler(), LogisticRegression(C=1e-3, max_iter=5000))
    scores: dict[str, list[tuple[float, float, int]]] = {}
    accuracies = []
    for seed in range(seeds):
        rng = np.random.default_rng(seed)
        wrong = np.zeros(len(true), bool)
        wrong[rng.choice(len(true), count, replace=False)] = True
        labels = np.where(wrong, (true + rng.integers(1, classes, len(true))) % classes, true)
        said = cross_val_predict(probe, features, labels, cv=5, method="predict_proba")
        accuracies.append((said.argmax(axis=1) == labels)[~wrong].mean())
        own = said[np.arange(len(labels)), labels]
        found = {
            "ours": find_label_errors(Answers.of(said, labels), labels, classes).images,
            "self-confidence": np.argsort(own, kind="stable")[:count],
            "cleanlab": by_cleanlab(said, labels),
        }
        for name, rows in found.items():
            if rows is not None:
                right = int(wrong[rows[:count]].sum())
                result = (right / max(1, len(rows[:count])), right / count, len(rows))
                scores.setdefault(name, []).append(result)
    print(f"    {len(true)} images, {count} flipped; accuracy {np.mean(accuracies):.4f}")
    for name, each in scores.items():
        precision, recall, listed = np.mean(each, axis=0)
        print(f"    {name:<16} precision {precision:.3f}, recall {recall:.3f}; {listed:.1f} listed")


def by_cleanlab(probabilities: np.ndarray, labels: np.ndarray) -> Sequence[int] | None:
    try:
        from cleanlab.filter import find_label_issues
    except ImportError:
        return None
    found: Sequence[int] = find_label_issues(
        labels, probabilities, return_indices_ranked_by="normalized_margin", n_jobs=1
    )
    return found


def line(name: str, found: Iterable[str], flipped: set[str], known: set[str]) -> str:
    every = list(found)
    first = every[: len(known)]
    right = len(flipped.intersection(first))
    precision = right / len(first) if first else float("nan")
    return (
        f"    {name:<16} {right} of the first {len(first)} right: precision {precision:.3f}, "
        f"recall {right / len(known):.3f}; {len(every)} listed"
    )


def measure(run: Path, flipped_in_all: int) -> float:
    """Prints what was found; returns our recall divided by that of self-confidence."""
    result = read_result(Directory(str(run)))
    assert result.labels is not None
    paths, labels, probabilities = judged(run, len(result.data.classes))
    known = {path for path in paths if is_flipped(path)}
    rightly = np.array([path not in known for path in paths])
    accuracy = (probabilities.argmax(axis=1) == labels)[rightly].mean()
    print(
        f"    {len(paths):,} images judged, {len(known)} of {flipped_in_all} flipped ones among "
        f"them; the networks' accuracy on rightly labelled ones {accuracy:.4f}"
    )
    ours = read_suspects(Directory(str(run)))["path"].to_pylist()
    own = probabilities[np.arange(len(labels)), labels]
    lowest = [paths[row] for row in np.argsort(own, kind="stable")[: len(known)]]
    print(line("ours", ours, known, known))
    print(line("self-confidence", lowest, known, known))
    theirs = by_cleanlab(probabilities, labels)
    if theirs is not None:
        print(line("cleanlab", [paths[row] for row in theirs], known, known), flush=True)
    return len(known.intersection(ours[: len(known)])) / max(1, len(known.intersection(lowest)))


def searched(args: argparse.Namespace, folder: Path, name: str) -> None:
    if name == "drawn":
        images = folder / "drawn-images"
        write_sample(images, args.count, size=64)
    else:
        images = getattr(args, name)
    for seed in args.seeds:
        print(f"  {name}, seed {seed}", flush=True)
        _search(args, folder / f"{name}-{seed}", images, name == "drawn", seed)


def _search(args: argparse.Namespace, folder: Path, images: Path, drawn: bool, seed: int) -> None:
    flipped_copy(images, folder / "images", args.share, seed)
    data, run = folder / "data", folder / "run"
    # Networks from scratch take small images, heads on a backbone what it takes.
    size = ("--image-size", 32) if drawn else ("--for", args.backbone)
    source = ("--images", folder / "images", "--out", data, "--group", "none")
    job("jobs/preprocess.py", *source, *size)
    search = SMALL_SEARCH if drawn else (*frozen(args.backbone), "--max-trials", 6)
    if drawn:
        # As many images as can be judged.
        search = (*search, "--set", 'final.suspects="all"')
    job("jobs/tune.py", "--data", data, "--out", run, "--seed", seed, *search)
    every = sum(is_flipped(f"{p.parent.name}/{p.name}") for p in (folder / "images").glob("*/*"))
    ratio = measure(run, every)
    print(f"    recall of ours / self-confidence: {ratio:.3f}", flush=True)


# What each part needs of the options.
NEEDED = {
    "photos": ("backbone", "photos"),
    "faces": ("backbone", "faces"),
    "drawn": (),
    "rule": ("backbone", "photos", "faces"),
}


def main(words: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("sets", nargs="*", default=list(NEEDED), help="of: " + ", ".join(NEEDED))
    parser.add_argument("--backbone")
    parser.add_argument("--photos", type=Path)
    parser.add_argument("--faces", type=Path)
    parser.add_argument("--count", type=int, default=240)
    parser.add_argument("--share", type=float, default=0.05)
    parser.add_argument("--many", type=int, default=20, help="seeds for the rule alone")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    args = parser.parse_args(words)
    for name in args.sets:
        for option in NEEDED[name]:
            if getattr(args, option) is None:
                parser.error(f"{name} must be used with --{option}, but it was not given")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary).resolve()
        for name in args.sets:
            if name != "rule":
                searched(args, folder, name)
                continue
            for photos in ("photos", "faces"):
                print(f"  the rule alone, {photos}", flush=True)
                own = folder / f"rule-{photos}"
                rule(args.backbone, getattr(args, photos), own, args.share, args.many)


if __name__ == "__main__":
    main()
