"""What a run came to, for result.json and model.json."""

import json
import math
from collections.abc import Sequence
from typing import Any

from cnn.data.manifest import Manifest
from cnn.data.splits import TEST, TRAIN
from cnn.model.card import ModelCard
from cnn.rundir.trials import TrialResult, count_by_status
from cnn.rundir.wilson import wilson_interval
from cnn.settings.schema import Settings

RESULT = "result.json"
SCHEMA_VERSION = 1


def make_result(
    manifest: Manifest,
    winner: TrialResult,
    phases: Sequence[dict[str, Any]],
    trials: Sequence[TrialResult],
    outcome: dict[str, Any],
) -> dict[str, Any]:
    trained = manifest.counts[TRAIN]
    larger = max(trained, key=lambda name: trained[name])
    test = outcome["test"]
    validation = outcome["validation"] or {
        "accuracy": winner.accuracy,
        "loss": winner.loss,
        "balanced_accuracy": winner.balanced_accuracy,
    }
    return {
        "schema_version": SCHEMA_VERSION,
        "params": winner.params,
        "winner": {
            "number": winner.number,
            "phase": winner.phase,
            "accuracy": winner.accuracy,
            "loss": winner.loss,
        },
        "phases": list(phases),
        "validation": validation,
        "test": {
            **test,
            "interval": _interval(test["accuracy"], test["count"]),
            # A test that an older version left behind has it not.
            "top5_interval": _interval(test.get("top5_accuracy"), test["count"]),
        },
        "baseline": {
            "accuracy": manifest.counts[TEST][larger] / manifest.total(TEST),
            "class": larger,
        },
        "final": outcome["final"],
        "trials": count_by_status(trials),
        "versions": outcome["versions"],
        "architecture": outcome["architecture"],
        "layers": outcome["layers"],
        "parameters": outcome["parameters"],
        "data": {
            "classes": list(manifest.classes),
            "counts": manifest.counts,
            "rejects": manifest.rejects,
            "reasons": manifest.reasons,
            "size": manifest.size,
            "channels": manifest.channels,
            "fingerprint": manifest.fingerprint,
            "source": manifest.source.model_dump(),
        },
    }


def _interval(share: float | None, count: int) -> dict[str, float] | None:
    if share is None:
        return None
    low, high = wilson_interval(round(share * count), count)
    return {"low": low, "high": high}


def model_card(
    manifest: Manifest, settings: Settings, winner: TrialResult, outcome: dict[str, Any]
) -> ModelCard:
    """What the model expects of an image, and what it was made with."""
    return ModelCard(
        schema_version=manifest.schema_version,
        size=manifest.size,
        channels=manifest.channels,
        color_mode=manifest.settings.color_mode,
        fit=manifest.settings.fit,
        background=manifest.settings.background,
        value_range=manifest.value_range,
        classes=manifest.classes,
        params=dict(winner.params),
        builder=settings.model.builder,
        versions=outcome["versions"],
    )


def to_json(content: dict[str, Any]) -> bytes:
    # NaN is no JSON; what is missing is null.
    def clean(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: clean(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [clean(item) for item in value]
        return None if isinstance(value, float) and not math.isfinite(value) else value

    return (json.dumps(clean(content), indent=1, allow_nan=False) + "\n").encode()
