"""bfloat16 where the hardware has units for it, and as good as float32."""

from pathlib import Path

import keras
import made_up
import numpy as np
import pytest

from cnn.model.precision import cpu_flags, resolve
from cnn.settings.params import ModelParams
from cnn.settings.schema import CacheSettings, ModelSettings, PhaseSettings, Precision
from cnn.train.batches import Images
from cnn.train.job import Job, compiled, run_fit
from cnn.train.parts import Part


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


def test_mixed_precision_is_as_good_within_the_noise_of_its_seeds() -> None:
    images = bright_or_dark(240)
    train = Images(images.pixels, images.labels, np.arange(160))
    validation = Images(images.pixels, images.labels, np.arange(160, 240))
    params = ModelParams(conv_layers=1, filters=8, dense_units=16, batch_size=8)
    found: dict[Precision, list[float]] = {"float32": [], "bfloat16": []}
    for precision, accuracies in found.items():
        for seed in range(4):
            model = compiled(job(precision), params, seed)
            fitted = run_fit(
                job(precision), [Part(model, train, validation)], params, seed=seed, epochs=10
            )
            assert fitted.best is not None
            accuracies.append(fitted.best.accuracy)
    assert min(found["float32"]) > 0.8
    spread = np.std(list(found.values()), axis=1, ddof=1).max()
    means = [np.mean(accuracies) for accuracies in found.values()]
    # Two means of four: their difference has sqrt(2 / 4) of the spread of one seed.
    assert abs(means[0] - means[1]) <= 3 * max(spread, 1 / 80) * np.sqrt(2 / 4)


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
