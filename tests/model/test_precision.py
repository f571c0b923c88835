"""bfloat16 where the hardware has units for it, and as good as float32."""

from pathlib import Path

import keras
import numpy as np
import pytest
from support import made_up

from cnn.model.precision import cpu_flags, resolve
from cnn.settings.params import ModelParams
from cnn.settings.schema import CacheSettings, ModelSettings, PhaseSettings, Precision
from cnn.train.batches import Images
from cnn.train.fit_parts import TrainingPart
from cnn.train.job import Job, compiled, run_fit


def job(precision: Precision) -> Job:
    manifest = made_up.manifest(16, {"a": 80, "b": 80})
    phase = PhaseSettings(name="all", space={})
    return Job(phase, ModelSettings(precision=precision), manifest, "data", "run", CacheSettings())


def bright_or_dark(count: int) -> Images:
    """Images whose class is their brightness, which overlaps: nobody names all of them."""
    rng = np.random.default_rng(0)
    labels = np.arange(count) % 2
    brightness = rng.normal(100 + 60 * labels, 25)[:, None, None]
    pixels = brightness + rng.normal(0, 20, (count, 16, 16))
    return Images(pixels.clip(0, 255).astype(np.uint8)[..., None], labels, np.arange(count))


@pytest.mark.slow
def test_mixed_precision_is_as_good() -> None:
    images = bright_or_dark(240)
    train = Images(images.inputs, images.labels, np.arange(160))
    validation = Images(images.inputs, images.labels, np.arange(160, 240))
    params = ModelParams(conv_layers=1, filters=8, dense_units=16, batch_size=8)
    accuracies: dict[Precision, list[float]] = {"float32": [], "bfloat16": []}
    losses: dict[Precision, list[float]] = {"float32": [], "bfloat16": []}
    for precision in accuracies:
        for seed in range(4):
            model = compiled(job(precision), params, seed)
            fitted = run_fit(
                job(precision),
                [TrainingPart(model, train, validation)],
                params.batch_size,
                seed=seed,
                epochs=10,
            )
            assert fitted.best is not None
            accuracies[precision].append(fitted.best.accuracy)
            losses[precision].append(fitted.best.loss)
    assert min(accuracies["float32"]) > 0.85
    # Two of 80 images, which is the standard error of an accuracy of 0.92 on so many.
    worst, mean = 2 / 80, np.mean(accuracies["float32"])
    assert np.mean(accuracies["bfloat16"]) == pytest.approx(mean, abs=worst)
    # The same seed is the same training but for its rounding.
    assert losses["bfloat16"] == pytest.approx(losses["float32"], rel=0.2)


def test_weights_and_the_last_layer_stay_float32() -> None:
    model = compiled(job("bfloat16"), ModelParams(conv_layers=1), 0)
    assert {layer.compute_dtype for layer in model.layers[1:-1]} == {"bfloat16"}
    assert {weight.dtype for weight in model.weights} == {"float32"}
    assert model(np.zeros((1, 16, 16, 1), np.uint8)).dtype == "float32"
    assert keras.config.dtype_policy().name == "float32"
    plain = compiled(job("bfloat16"), ModelParams(conv_layers=1), 0, precision="float32")
    assert {layer.compute_dtype for layer in plain.layers} == {"float32"}


@pytest.mark.parametrize(
    ("flags", "device", "expected"),
    [
        ("fpu avx2 avx512f avx512_bf16", "cpu:0", "bfloat16"),
        ("fpu avx2 amx_bf16 amx_tile", "cpu:0", "bfloat16"),
        ("fpu avx2 avx512f", "cpu:0", "float32"),
        ("fpu", "tpu:0", "bfloat16"),
        ("fpu", "rocm:0", "float32"),
    ],
)
def test_auto_asks_the_hardware(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, flags: str, device: str, expected: str
) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text(f"processor\t: 0\nflags\t\t: {flags}\nbugs\t\t: none\n")
    monkeypatch.setattr("cnn.model.precision.cpu_flags", lambda: cpu_flags(cpuinfo))
    assert resolve("auto", device) == expected
    assert resolve("float32", device) == "float32"
    assert resolve("bfloat16", device) == "bfloat16"


@pytest.mark.parametrize(("answer", "expected"), [("9.0", "bfloat16"), ("7.5", "float32")])
def test_auto_asks_the_gpu_that_the_process_may_use(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, answer: str, expected: str
) -> None:
    tool = tmp_path / "nvidia-smi"
    tool.write_text(f'#!/bin/sh\ntest "$4" = GPU-7 && echo {answer}\n')
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-7,GPU-8")
    assert resolve("auto", "gpu:0") == expected


def test_a_processor_that_linux_does_not_describe_has_no_flags(tmp_path: Path) -> None:
    assert cpu_flags(tmp_path / "missing") == set()
