"""Data larger than the memory that a trial may have."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support import made_up
from support.paths import REPOSITORY, TESTS

from cnn.settings.params import ModelParams
from cnn.settings.schema import CacheSettings, ModelSettings, PhaseSettings
from cnn.spark.session import EXECUTOR_ENVIRONMENT
from cnn.train.job import Job
from cnn.train.trial import run_trial

SIZE, LIMIT = 256, 2**30
COUNT = 4 * LIMIT // (SIZE * SIZE * 3)


@pytest.fixture
def group() -> Iterator[Path]:
    """A control group of Linux whose memory, page cache and all, is limited."""
    old, new = Path("/sys/fs/cgroup/memory"), Path("/sys/fs/cgroup")
    root, limit = (old, "memory.limit_in_bytes") if old.is_dir() else (new, "memory.max")
    folder = root / f"cnn-test-{os.getpid()}"
    try:
        folder.mkdir()
        (folder / limit).write_text(str(LIMIT))
    except OSError as error:
        pytest.skip(f"needs a control group of its own: {error}")
    yield folder
    folder.rmdir()


@pytest.mark.slow
def test_a_trial_on_four_times_its_memory_comes_to_its_end(tmp_path: Path, group: Path) -> None:
    write_data(tmp_path / "data")
    path = {"PYTHONPATH": f"{REPOSITORY}:{TESTS}"}
    done = subprocess.run(
        [sys.executable, __file__, str(tmp_path), str(group)],
        env=os.environ | EXECUTOR_ENVIRONMENT | path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["status"] == "ok", found["error"]
    assert found["train_images"] > 0.79 * COUNT


def write_data(folder: Path) -> None:
    """Images of one colour each: large as arrays, small as a file."""
    (folder / "train").mkdir(parents=True)
    schema = pa.schema([("label", pa.int32()), ("fold", pa.int32()), ("pixels", pa.binary())])
    with pq.ParquetWriter(folder / "train" / "part-0.parquet", schema, compression="zstd") as file:
        for start in range(0, COUNT, 100):
            numbers = np.arange(start, min(start + 100, COUNT))
            pixels = [bytes([40 + 100 * (n % 2)]) * (SIZE * SIZE * 3) for n in numbers]
            columns = {"label": numbers % 2, "fold": numbers // 2 % 10, "pixels": pixels}
            file.write_table(pa.table(columns).cast(schema))


def build(params: ModelParams, *, size: int, channels: int, classes: int) -> object:
    """Reads every pixel and computes next to nothing."""
    import keras

    return keras.Sequential(
        [
            keras.Input((size, size, channels), dtype="uint8"),
            keras.layers.Rescaling(1 / 255),
            keras.layers.AveragePooling2D(64),
            keras.layers.Flatten(),
            keras.layers.Dense(classes, activation="softmax", dtype="float32"),
        ]
    )


def job(root: Path) -> Job:
    half = COUNT // 2
    manifest = made_up.manifest(SIZE, {"dark": COUNT - half, "bright": half}, channels=3)
    phase = PhaseSettings(name="all", space={}, epochs=1, min_steps=0, validation_folds=(0, 1))
    model = ModelSettings(builder="test_memory:build")
    run, cache = str(root / "run"), CacheSettings(dir=str(root / "cache"))
    return Job(phase, model, manifest, str(root / "data"), run, cache)


if __name__ == "__main__":
    (Path(sys.argv[2]) / "cgroup.procs").write_text(str(os.getpid()))
    print(run_trial(job(Path(sys.argv[1])), ModelParams(batch_size=32), 0).model_dump_json())
