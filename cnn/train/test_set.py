"""The winner's one test: its answer to every test image, and pictures for the report.

`test.parquet` has all test images in their order. `pictures.parquet` has the images that the report
shows, as PNG: mistakes, uncertain answers, and some training images of each class.
"""

import traceback
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from cnn.core.directory import Directory
from cnn.data.arrays import Pixels, open_pixels, read_paths
from cnn.data.splits import TEST, TRAIN
from cnn.model.picture_file import MISTAKE, PICTURE_SCHEMA, PICTURES, SAMPLE, UNCERTAIN
from cnn.rundir.metrics import ConfidenceInterval, TestMetrics
from cnn.rundir.test_predictions import TEST_SCHEMA, TESTED, count_in_top
from cnn.train.job import Job, all_images
from cnn.train.objective import area_under_roc
from cnn.train.pictures import as_png, write_parquet
from cnn.train.scores import Evaluation, batch_of, predict, score

if TYPE_CHECKING:
    import keras


_MOST = {MISTAKE: 24, UNCERTAIN: 12}
_SAMPLES_A_CLASS = 6
_MOST_SAMPLES = 60


@dataclass(frozen=True)
class TestScores:
    """The test's scores."""

    evaluation: Evaluation
    # None if a class has no image.
    roc_auc: float | None
    # The images whose class is among the five most probable ones.
    in_top5: int | None

    def metrics(self) -> TestMetrics:
        """The scores as the result has them, with their intervals."""
        tested = self.evaluation
        top5 = None if self.in_top5 is None else self.in_top5 / tested.count
        return TestMetrics(
            **tested.means(),
            roc_auc=self.roc_auc,
            top5_accuracy=top5,
            confusion=tested.confusion.tolist(),
            interval=ConfidenceInterval.of(tested.accuracy, tested.count),
            top5_interval=None if top5 is None else ConfidenceInterval.of(top5, tested.count),
        )


def run_test(model: "keras.Model", job: Job) -> TestScores:
    """Tests a model on all test images, once, and writes its answers and the pictures."""
    run, data = job.winner_directory(), Directory(job.data)
    split = open_pixels(data, job.manifest, TEST, job.cache)
    on_batch, batch = model.predict_on_batch, batch_of(model)
    probabilities = predict(on_batch, all_images(split), batch).astype(np.float64)
    predictions = probabilities.argmax(axis=1)
    paths = read_paths(data, TEST)
    table = pa.table(
        [paths, split.labels, predictions.astype(np.int32), list(probabilities)],
        schema=TEST_SCHEMA,
    )
    write_parquet(run, TESTED, table)
    train = open_pixels(data, job.manifest, TRAIN, job.cache)
    rows = [
        *_judged(MISTAKE, split, paths, probabilities, predictions != split.labels),
        *_judged(UNCERTAIN, split, paths, probabilities, predictions == split.labels),
        *_samples(train, read_paths(data, TRAIN), len(job.manifest.classes)),
    ]
    write_parquet(run, PICTURES, pa.Table.from_pylist(rows, schema=PICTURE_SCHEMA))
    labels = np.asarray(split.labels)
    tested = Evaluation.of(*score(probabilities, labels, len(job.manifest.classes)))
    tested = replace(tested, objective=_objective(job, tested, probabilities, labels))
    return TestScores(tested, _roc_auc(probabilities, labels), count_in_top(probabilities, labels))


def _objective(
    job: Job, tested: Evaluation, probabilities: np.ndarray, labels: np.ndarray
) -> float | None:
    """The objective's value; None if it is not finite or its function raises."""
    try:
        return job.measure().value(tested, probabilities, labels)
    except Exception:
        # The test set is opened once, so its other results must not be lost.
        traceback.print_exc()
        return None


def _roc_auc(probabilities: np.ndarray, labels: np.ndarray) -> float | None:
    """The area under the ROC curve; None if a class has no image or a probability is not finite."""
    whole = len(np.unique(labels)) == probabilities.shape[1] and np.isfinite(probabilities).all()
    return area_under_roc(probabilities, labels) if whole else None


def _judged(
    kind: str, split: Pixels, paths: list[str], probabilities: np.ndarray, which: np.ndarray
) -> list[dict[str, Any]]:
    """The worst mistakes, or the least certain right answers, first."""
    chosen = np.flatnonzero(which)
    certain = probabilities[chosen].max(axis=1) if len(chosen) else np.empty(0)
    order = np.argsort(-certain if kind == MISTAKE else certain, kind="stable")
    rows = chosen[order][: _MOST[kind]]
    return [
        {
            "kind": kind,
            "path": paths[row],
            "label": int(split.labels[row]),
            "prediction": int(probabilities[row].argmax()),
            "probability": float(probabilities[row].max()),
            "png": as_png(split.pixels[row]),
        }
        for row in rows
    ]


def _samples(split: Pixels, paths: list[str], classes: int) -> list[dict[str, Any]]:
    """The first training images of each class; the data set's order is random."""
    each = max(1, min(_SAMPLES_A_CLASS, _MOST_SAMPLES // classes))
    labels = np.asarray(split.labels)
    rows = [row for label in range(classes) for row in np.flatnonzero(labels == label)[:each]]
    return [
        {
            "kind": SAMPLE,
            "path": paths[row],
            "label": int(labels[row]),
            "png": as_png(split.pixels[row]),
        }
        for row in rows
    ]
