"""What no job has made: descriptions of data sets and models, trials, and run directories."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from cnn.core.clock import now
from cnn.core.directory import Directory
from cnn.core.seeds import derive_seed
from cnn.data.data_settings import DataSettings
from cnn.data.manifest import Manifest, Source
from cnn.model.card import ModelCard
from cnn.rundir.metrics import ConfidenceInterval
from cnn.rundir.test_predictions import TEST_SCHEMA, TESTED
from cnn.rundir.trials import EpochResult, Status, TrialResult, write_trial
from cnn.settings.toml import dump_settings, load_settings

START = datetime(2026, 11, 23, 8, tzinfo=UTC)
HOSTILE = "<script>alert(1)</script>"
ESCAPED = "&lt;script&gt;alert(1)&lt;/script&gt;"


def epochs(count: int, top: float, *, validated: bool = True) -> tuple[EpochResult, ...]:
    """Epochs that come closer and closer to the accuracy `top`."""
    return tuple(
        EpochResult(
            epoch=number,
            loss=0.7 / number,
            accuracy=top - 0.3 / number,
            val_loss=0.8 / number if validated else None,
            val_accuracy=top - 0.4 / number if validated else None,
            seconds=0.5,
        )
        for number in range(1, count + 1)
    )


def trial(number: int, status: Status = "ok", phase: str = "search", **fields: Any) -> TrialResult:
    params = {"conv_layers": 1 + number % 4, "learning_rate": 0.00123, "filters": [32, 64]}
    values: dict[str, Any] = {
        "params": params,
        "started": START + timedelta(seconds=9 * number),
        "ended": START + timedelta(seconds=9 * number + 8),
        "seed": 100 + number,
    }
    if status == "ok":
        top = 0.8 + 0.02 * (number % 9)
        values |= {"accuracy": top, "loss": 1 - top, "best_epoch": 4, "epochs": epochs(6, top)}
    return TrialResult(number=number, phase=phase, status=status, **(values | fields))


def result(**changes: Any) -> dict[str, Any]:
    """result.json of a run whose trial 7 won; `changes` replace tables or are merged into them.

    Phases are merged into one that has all keys; an interval and a confusion matrix that are not
    given follow from the rest.
    """
    made: dict[str, Any] = {
        "schema_version": 3,
        "params": {"conv_layers": 4, "learning_rate": 0.00123, "batch_norm": True, "dropout": None},
        "winner": {"number": 7, "phase": "search", "accuracy": 0.94, "loss": 0.06},
        "phases": [{}],
        "validation": {"accuracy": 0.95, "loss": 0.05, "balanced_accuracy": 0.95, "count": 96},
        "test": {
            "accuracy": 119 / 120,
            "loss": 0.0402,
            "balanced_accuracy": 119 / 120,
            "count": 120,
            "roc_auc": None,
            "top5_accuracy": None,
            "confusion": [[59, 1], [0, 60]],
            "interval": {"low": 0.9543, "high": 0.9985},
            "top5_interval": None,
        },
        "baseline": {"accuracy": 0.5, "class": "faces"},
        "final": {
            "data": "train",
            "best_epoch": 5,
            "epochs": [epoch.model_dump() for epoch in epochs(6, 0.98)],
            "train_images": 384,
            "cooldown": 0.0,
            "attempts": [{"seed": 4711, "accuracy": 0.98, "accepted": True}],
            "workers": 1,
            "continued": 0,
            "batch_size": 32,
            "learning_rate": 0.00123,
        },
        "trials": {"ok": 8},
        "versions": {"cnn": "0.1.0", "keras": "3.15.1"},
        "architecture": "Model: CNN\n convolution_1",
        "layers": [],
        "parameters": 53858,
        "data": {
            "classes": ["faces", "comics"],
            "counts": {
                "train": {"faces": 240, "comics": 2400},
                "test": {"faces": 60, "comics": 60},
            },
            "rejects": 3,
            "reasons": {},
            "size": 128,
            "channels": 1,
            "fingerprint": "ab12cd",
            "source": {
                "name": "Faces and comics",
                "licence": "CC-BY 4.0",
                "attribution": "by A. Painter",
                "url": "https://example.org/faces",
            },
        },
        "seconds": {"preprocess": 6.1, "search": 7300.2, "final": 8.0, "test": 1.0},
        "command": ["jobs/tune.py", "--data", "my data"],
        "configs": ["default.toml", "sample.toml"],
        "notes": ["the 4,000 images asked for were 480: all are used"],
        "started": "2026-11-23T08:00:00+00:00",
        "ended": "2026-11-23T08:02:00Z",
    }
    for key, value in changes.items():
        merged = isinstance(made.get(key), dict) and value
        made[key] = made[key] | value if merged else value
    made["phases"] = [phase_result() | phase for phase in made["phases"]]
    test, classes = made["test"], len(made["data"]["classes"])
    test["confusion"] = test["confusion"] or [[0] * classes] * classes
    test["interval"] = (
        test["interval"] or ConfidenceInterval.of(test["accuracy"], test["count"]).model_dump()
    )
    return made


def phase_result() -> dict[str, Any]:
    """What result.json says of a phase whose trial 7 was the best."""
    return {
        "name": "search",
        "strategy": "tpe",
        "objective": "val_accuracy",
        "best": 7,
        "params": {"conv_layers": 4},
        "trials": {"ok": 8},
        "train_images": 4000,
        "epochs": 6,
        "confirmation": None,
        "simplest": None,
    }


def settings_text(*phases: str, **tables: Any) -> str:
    """settings.toml of a run of these phases."""
    named = {"phases": [{"name": name} for name in phases or ["search"]]}
    return dump_settings(load_settings(tables=named | tables))


def run_directory(
    folder: Path, content: dict[str, Any], trials: list[TrialResult] | None = None
) -> Directory:
    run = Directory(folder / "run")
    trials = [trial(number) for number in range(8)] if trials is None else trials
    run.write("result.json", json.dumps(content).encode())
    phases = dict.fromkeys(one.phase for one in trials)
    run.write("settings.toml", settings_text(*phases).encode())
    for one in trials:
        write_trial(run, one)
    return run


def write_answers(
    run: Directory, labels: list[int], probabilities: np.ndarray, paths: list[str] | None = None
) -> None:
    """RUN/test.parquet of images that are of `labels`."""
    columns = [
        paths or [f"all/{number}.jpg" for number in range(len(labels))],
        labels,
        probabilities.argmax(axis=1).astype(np.int32),
        list(probabilities.astype(np.float64)),
    ]
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table(columns, schema=TEST_SCHEMA), sink)
    run.write(TESTED, sink.getvalue().to_pybytes())


def many_classes(folder: Path, count: int = 120, each: int = 12, **changes: Any) -> Directory:
    """A run of so many classes, whose names are long, alike and of every kind."""
    kinds = ("retriever with a very long coat", "terrier", "hound of the northern mountains")
    names = [f"{kinds[label % 3]} {label:03}" for label in range(count)]
    random = np.random.default_rng(7)
    labels = np.repeat(np.arange(count), each)
    scores = random.normal(0, 1, (count * each, count))
    # The later a class, the harder; every fourth is taken for the one before it.
    scores[np.arange(len(labels)), labels] += 5.5 - 4 * labels / count
    scores[np.arange(len(labels)), (labels - 1) % count] += 2.5 * (labels % 4 == 3)
    probabilities = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    matrix = np.zeros((count, count), int)
    np.add.at(matrix, (labels, probabilities.argmax(axis=1)), 1)
    accuracy = float(matrix.trace() / len(labels))
    content = result(
        data={
            "classes": names,
            "counts": dict.fromkeys(("train", "test"), dict.fromkeys(names, each)),
        },
        test={
            "accuracy": accuracy,
            "balanced_accuracy": accuracy,
            "interval": None,
            "count": len(labels),
            "confusion": matrix.tolist(),
        },
        baseline={"accuracy": 1 / count, "class": names[0]},
        validation={"accuracy": accuracy + 0.01},
        **changes,
    )
    run = run_directory(folder, content)
    write_answers(run, labels.tolist(), probabilities)
    return run


def manifest(size: int, counts: dict[str, int], *, channels: Literal[1, 3] = 1) -> Manifest:
    """A data set of training images alone: so many of each class."""
    total = sum(counts.values())
    return Manifest(
        size=size,
        channels=channels,
        classes=tuple(counts),
        counts={"train": counts, "test": dict.fromkeys(counts, 0)},
        groups=total,
        duplicates=0,
        listed=total,
        rejects=0,
        reasons={},
        ignored=0,
        settings=DataSettings(image_size=size, color_mode="grayscale" if channels == 1 else "rgb"),
        source=Source(name="drawn"),
        sample=False,
        inputs="",
        fingerprint="0" * 64,
        seconds=0,
    )


def card(size: int, classes: tuple[str, ...], **params: Any) -> ModelCard:
    """A model for grey images."""
    return ModelCard(
        size=size,
        channels=1,
        color_mode="grayscale",
        fit="stretch",
        classes=classes,
        params=params,
        builder="cnn.model:build",
        versions={},
    )


SETTINGS = load_settings()


def default_trial(number: int, **fields: Any) -> TrialResult:
    """A trial of the search that the default settings ask for."""
    phase = SETTINGS.phases[0]
    known: dict[str, Any] = {"phase": phase.name, "params": {"conv_layers": 1}}
    known["seed"] = derive_seed(phase.seed, "trial", phase.name, number)
    return bare_trial(number, **{**known, **fields})


def bare_trial(number: int = 0, status: str = "ok", **fields: Any) -> TrialResult:
    """A trial with what every one of its status has, and with `fields`; epochs it has none."""
    time = now()
    known: dict[str, Any] = {"number": number, "phase": "search", "params": {"filters": 8}}
    known |= {"status": status, "started": time, "ended": time}
    if status in {"ok", "pruned"}:
        accuracy = fields.get("accuracy", 0.5)
        loss = None if accuracy is None else 1 - accuracy
        known |= {"accuracy": accuracy, "balanced_accuracy": accuracy, "loss": loss}
    elif status != "cancelled":
        known["error"] = "why"
    if status == "pruned":
        known["rung"] = 0
    return TrialResult.model_validate({**known, **fields})


CARD = card(16, ("a", "b"), filters=3).model_dump(mode="json")


def searched(count: int) -> list[TrialResult]:
    """Trials whose accuracy follows from one of two parameters that vary."""
    return [
        trial(
            number,
            params={"noise": (number * 7) % 11, "width": 2 ** (number % 4), "fixed": 1},
            accuracy=0.6 + 0.1 * (number % 4),
        )
        for number in range(count)
    ]
