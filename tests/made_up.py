"""Descriptions of data sets and models that no job has made."""

from typing import Any, Literal

from cnn.data.manifest import DataSettings, Manifest, Source
from cnn.model.card import ModelCard


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
