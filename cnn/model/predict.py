"""Applies a run's model to any number of images with Spark, and writes predictions and rejects."""

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.dataset
import pyarrow.parquet as pq
from pyspark.sql.types import ArrayType, DoubleType, StringType, StructField, StructType

from cnn.core.commit import staged
from cnn.core.directory import Directory
from cnn.core.errors import Error
from cnn.core.failure_reason import failure
from cnn.data.decoding.decode import Unreadable
from cnn.data.rejects import write_rejects
from cnn.data.sources.hadoop import UNREAD
from cnn.data.sources.listing import Gathered
from cnn.data.sources.source import ImageSource
from cnn.data.splits import ImageFile
from cnn.model.card import ModelCard
from cnn.settings.cli_defaults import CSV
from cnn.spark.gpus import environment_for, gpus_of_task
from cnn.spark.interruptible import collected
from cnn.spark.slots import Slots, count_slots, wait_for_executors

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

    from cnn.model.classifier import Classifier

PREDICTIONS = "predictions"
# The file with which Spark marks a complete directory.
MARKER = f"{PREDICTIONS}/_SUCCESS"
SCHEMA = pa.schema(
    [
        ("path", pa.string()),
        ("prediction", pa.string()),
        ("probability", pa.float64()),
        ("probabilities", pa.list_(pa.float64())),
    ]
)
FOUND = StructType(
    [
        StructField("prediction", StringType()),
        StructField("probability", DoubleType()),
        StructField("probabilities", ArrayType(DoubleType())),
        StructField("reason", StringType()),
    ]
)
# Enough tasks that the last ones end together and that progress is visible, but not too small ones.
_TASKS_PER_CORE = 8
_IMAGES_PER_TASK = 32
_POLL_SECONDS = 0.2


@dataclass(frozen=True)
class Summary:
    """The result of a prediction.

    Attributes:
        predicted: The number of classified images.
        rejects: Path and reason of each other file, sorted.
        confusion: int64 (folder, predicted class), counts of the images in folders that are named
            after classes; all zero if there are none.
    """

    predicted: int
    rejects: list[tuple[str, str]]
    confusion: np.ndarray


def predict_images(
    spark: "SparkSession",
    run: Directory,
    card: ModelCard,
    images: ImageSource,
    found: Gathered,
    out: Directory,
    *,
    csv: bool = False,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Summary:
    """Classifies images and writes predictions and rejects to `out`, completely or not at all.

    Each image is read and classified once. The results, without pixels, are kept on the executors'
    disks until both tables are written.

    Args:
        spark: The session, with the settings PREDICT.
        run: The run with the model.
        card: The description of the model.
        images: The source of the images.
        found: The files in it.
        out: The directory to write.
        csv: Whether to write all predictions as one CSV file too.
        progress: Called with the number of finished tasks and of all tasks.

    Returns:
        What became of the files.

    Raises:
        Error: A task failed; nothing was written.
    """
    from pyspark import StorageLevel
    from pyspark.sql.functions import col

    wait_for_executors(spark.sparkContext)
    slots = count_slots(spark.sparkContext)
    tasks = min(-(-len(found.files) // _IMAGES_PER_TASK), slots.total * _TASKS_PER_CORE)
    try:
        with staged(out, MARKER) as staging:
            frame = images.frame(spark, found.files, max(1, tasks))
            udf = _udf(run, card, images.opener(), slots)
            classified = frame.select("path", udf("item").alias("found")).select("path", "found.*")
            classified = classified.persist(StorageLevel.DISK_ONLY)
            staging.sub(PREDICTIONS).create()
            predictions = classified.where(col("reason").isNull()).drop("reason")
            # The number of tasks may not be the requested one: Spark itself divides the files that
            # it reads.
            with _watched(spark, frame.rdd.getNumPartitions(), progress):
                written = collected(predictions.mapInArrow(_writer(staging), "rows long"))
            predicted = sum(row.rows for row in written)
            unreadable = classified.where(col("reason").isNotNull()).select("path", "reason")
            rejects = [*found.rejects, *map(tuple, collected(unreadable))]
            if predicted + len(rejects) < len(found.files) + len(found.rejects):
                seen = {row.path for row in collected(classified.select("path"))}
                unseen = [file.path for file in found.files if file.path not in seen]
                rejects += [(path, UNREAD) for path in unseen]
            confusion = _confusion(spark, predictions, found.files, card)
            classified.unpersist()
            write_rejects(staging, rejects)
            if csv:
                _write_csv(staging, card)
            staging.write(MARKER, b"")
    except Error:
        raise
    except Exception as error:
        raise Error(f"predicting failed, and nothing was written: {failure(error)}") from error
    return Summary(predicted, sorted(rejects), confusion)


def _writer(staging: Directory) -> Any:
    """For `mapInArrow`: each task writes one file and returns the number of its rows.

    If a task is repeated, it writes the same file again. Spark's own writer would need Hadoop's
    connector to the object store.
    """

    def run(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        from pyspark import TaskContext

        task = TaskContext.get()
        assert task is not None
        number, rows = task.partitionId(), 0
        filled = (batch for batch in batches if batch.num_rows)
        first = next(filled, None)
        if first is None and number:
            return
        with (
            staging.writer(f"{PREDICTIONS}/part-{number:05d}.parquet") as sink,
            pq.ParquetWriter(sink, SCHEMA) as writer,
        ):
            # The first task always writes a file, which has the columns even without rows.
            for batch in () if first is None else chain([first], filled):
                writer.write_batch(batch.cast(SCHEMA))
                rows += batch.num_rows
        yield pa.RecordBatch.from_pydict({"rows": pa.array([rows], pa.int64())})

    return run


def _udf(run: Directory, card: ModelCard, opener: Callable[[Any], Any], slots: Slots) -> Any:
    """A function from items to FOUND, by Spark's `predict_batch_udf`: a process loads one model."""
    from pyspark.ml.functions import predict_batch_udf

    uri, threads, gpus = run.uri, slots.threads(slots.total), slots.gpus

    def load() -> Callable[[np.ndarray], dict[str, np.ndarray]]:
        import os

        from pyspark import TaskContext

        given = gpus_of_task()
        context = TaskContext.get()
        if given is None and gpus and context:
            # Spark assigns none in local mode: distribute the tasks over the GPUs.
            given = (gpus[context.partitionId() % len(gpus)],)
        os.environ.update(environment_for(threads, given))
        from cnn.model.classifier import Classifier

        classifier = Classifier.load(uri)
        return lambda items: _classify(classifier, opener, items)

    return predict_batch_udf(load, return_type=FOUND, batch_size=card.batch_size)


def _classify(
    classifier: "Classifier", opener: Callable[[Any], Path | bytes], items: np.ndarray
) -> dict[str, np.ndarray]:
    """The columns of FOUND; an unreadable image has only a reason."""
    card = classifier.card
    reasons = np.full(len(items), None, object)
    pixels = np.zeros((len(items), card.size, card.size, card.channels), np.uint8)
    for i, item in enumerate(items):
        try:
            pixels[i] = classifier.pixels(opener(item))
        except Unreadable as reason:
            reasons[i] = str(reason)
    readable = np.array([reason is None for reason in reasons])
    rows = np.full((len(items), len(card.classes)), np.nan)
    predictions = np.full(len(items), None, object)
    if readable.any():
        rows[readable] = classifier.probabilities(pixels[readable])
        predictions[readable] = np.array(card.classes, object)[rows[readable].argmax(axis=1)]
    return {
        "prediction": predictions,
        "probability": rows.max(axis=1),
        "probabilities": rows,
        "reason": reasons,
    }


def _confusion(
    spark: "SparkSession", predictions: "DataFrame", files: Sequence[ImageFile], card: ModelCard
) -> np.ndarray:
    """Counts of (folder, predicted class), for the images in folders named after classes."""
    labels = {name: label for label, name in enumerate(card.classes)}
    confusion = np.zeros((len(labels), len(labels)), np.int64)
    named = [file for file in files if file.class_name in labels]
    if not named:
        return confusion
    columns = {"path": [f.path for f in named], "truth": [f.class_name for f in named]}
    truth = spark.createDataFrame(pa.table(columns))
    counts = predictions.join(truth, "path").groupBy("truth", "prediction").count()
    for row in collected(counts):
        confusion[labels[row["truth"]], labels[row["prediction"]]] = row["count"]
    return confusion


def _write_csv(staging: Directory, card: ModelCard) -> None:
    """The predictions as one file: path, prediction, probability, and a column for each class."""
    filesystem, path = staging.path(PREDICTIONS)
    source = pyarrow.dataset.dataset(path, filesystem=filesystem, format="parquet")
    names = ["path", "prediction", "probability", *(f"probability_{c}" for c in card.classes)]
    types = [pa.string(), pa.string(), *[pa.float64()] * (1 + len(card.classes))]
    schema = pa.schema(list(zip(names, types, strict=True)))
    with staging.writer(CSV) as sink, pyarrow.csv.CSVWriter(sink, schema) as writer:
        for batch in source.to_batches():
            rows = batch.column("probabilities").flatten().to_numpy(zero_copy_only=False)
            each = rows.reshape(-1, len(card.classes)).T
            columns = [*batch.select(names[:3]).columns, *(pa.array(column) for column in each)]
            writer.write_batch(pa.RecordBatch.from_arrays(columns, schema=schema))


@contextmanager
def _watched(
    spark: "SparkSession", tasks: int, progress: Callable[[int, int], None]
) -> Iterator[None]:
    """Reports to `progress` the finished tasks of the block's stage with this number of tasks."""
    context, ended = spark.sparkContext, threading.Event()
    tracker, group = context.statusTracker(), f"predict-{id(ended)}"

    def done() -> int:
        jobs = filter(None, map(tracker.getJobInfo, tracker.getJobIdsForGroup(group)))
        stages = [tracker.getStageInfo(stage) for job in jobs for stage in job.stageIds]
        return max((s.numCompletedTasks for s in stages if s and s.numTasks == tasks), default=0)

    def watch() -> None:
        while not ended.wait(_POLL_SECONDS):
            progress(done(), tasks)

    thread = threading.Thread(target=watch, daemon=True)
    context.setJobGroup(group, "predict")
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        for key in ("spark.jobGroup.id", "spark.job.description", "spark.job.interruptOnCancel"):
            # None removes a property, which its annotation does not allow.
            context.setLocalProperty(key, None)  # type: ignore[arg-type]
    progress(tasks, tasks)
