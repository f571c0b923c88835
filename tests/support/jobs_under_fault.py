"""The jobs that test_chaos.py hits: how to run and repeat them, and what must have come."""

import io
import json
import shutil
import zipfile
from abc import ABC, abstractmethod
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import ClassVar

import keras
import numpy as np
import pyarrow.parquet as pq
from PIL import Image

from cnn.core.directory import Directory
from cnn.data.manifest import read_manifest
from cnn.data.splits import TEST, TRAIN
from cnn.rundir.trials import read_trials, trial_file
from cnn.train.features import CHUNK
from support import made_up
from support.backbones import save_backbone
from support.faults import pythons
from support.jobs import Run, preprocess

IMAGES = 1000
SIZE = 32
GRID = {"space.conv_layers": "[1, 2]", "space.filters": "[2, 4, 8]"}
TRIALS = 6
EPOCHS = 60


class Material:
    """What jobs work on; each part is made when a job first needs it."""

    def __init__(self, submit: Run, data: Path, root: Path) -> None:
        self._submit = submit
        self._root = root
        # A small data set.
        self.data = data

    @cached_property
    def images(self) -> Path:
        draw_images(self._root / "images")
        return self._root / "images"

    def names(self) -> list[str]:
        return sorted(str(path.relative_to(self.images)) for path in self.images.rglob("*.jpg"))

    @cached_property
    def many(self) -> Path:
        """The images as a data directory."""
        assert self.images.parent == self._root
        return preprocess(self._submit, self._root, *ALIKE)

    @cached_property
    def backbone(self) -> Path:
        """A backbone for the images."""
        return save_backbone(self._root / "small.keras")

    @cached_property
    def run(self) -> Path:
        """A run directory with a model in it."""
        run = self._root / "run"
        run.mkdir()
        pixels = keras.Input((SIZE, SIZE, 1), dtype="uint8")
        x = keras.layers.Flatten()(keras.layers.Rescaling(1 / 255)(pixels))
        keras.Model(pixels, keras.layers.Dense(2, "softmax")(x)).save(run / "model.keras")
        card = made_up.card(SIZE, ("cats", "dogs"))
        (run / "model.json").write_text(card.model_dump_json())
        return run


# All drawn images of a class show the same picture.
ALIKE = ("--near-duplicates", "keep")


def draw_images(root: Path) -> None:
    """JPEGs that take as long to read as any, but not to make: no two are the same bytes."""
    rng = np.random.default_rng(0)
    for name in ("cats", "dogs"):
        blocks = Image.fromarray(rng.integers(0, 256, (16, 16), dtype=np.uint8))
        sink = io.BytesIO()
        blocks.resize((512, 512), Image.Resampling.NEAREST).save(sink, "JPEG")
        (root / name).mkdir(parents=True)
        for number in range(IMAGES // 2):
            content = sink.getvalue() + f"{number:08d}".encode()
            (root / name / f"{name}-{number}.jpg").write_bytes(content)


class Job(ABC):
    """A job whose output lies on a disk of its own."""

    # How long what comes then takes, roughly, next to the time until then: on slow machines too.
    share: float

    def __init__(self, material: Material, disk: Path) -> None:
        self.material = material
        self.disk = disk
        self.out = disk / "out"

    @abstractmethod
    def command(self) -> list[str]: ...

    @abstractmethod
    def check(self, fault: str) -> None:
        """What must be true when it has completed."""

    def reached(self, moment: float, log: Path, mark: str) -> bool:
        """Whether its work is about as far as `moment` says, from 0 to 1: here, has begun."""
        return bool(pythons(mark))

    def again(self) -> list[str]:
        """What a user runs after it has failed."""
        return self.command()

    def finished(self) -> dict[Path, bytes]:
        """Files that must stay as they are when it runs again."""
        return {}

    def forget(self) -> None:
        """Removes what it has made."""
        shutil.rmtree(self.out)

    def check_disk(self) -> None:
        """Every file is whole, and nothing half-made is there: all that is hidden is."""
        assert {path.name for path in self.disk.iterdir()} == {self.out.name}
        for path in self.out.rglob("*"):
            assert not path.name.startswith("."), path
            if path.suffix == ".json":
                json.loads(path.read_text())
            elif path.suffix == ".parquet":
                pq.read_table(path)
            elif path.suffix == ".keras":
                assert zipfile.ZipFile(path).testzip() is None


class Preprocess(Job):
    share = 0.4

    def command(self) -> list[str]:
        words = ("jobs/preprocess.py", "--images", self.material.images, "--out", self.out, *ALIKE)
        return [str(word) for word in (*words, "--image-size", SIZE)]

    def check(self, fault: str) -> None:
        self.check_disk()
        splits = [pq.read_table(self.out / split)["path"].to_pylist() for split in (TRAIN, TEST)]
        assert sorted(chain(*splits)) == self.material.names()
        manifest = read_manifest(Directory(self.out))
        assert [manifest.total(split) for split in (TRAIN, TEST)] == list(map(len, splits))


class Tune(Job):
    share = 0.05
    settings: ClassVar[dict[str, object]] = {
        "search.strategy": "grid",
        "search.epochs": 6,
        "search.halving": "true",
        "search.checkpoint_seconds": 0,
        "space.learning_rate": 0.003,
        **{key: f"{{choices = {value}}}" for key, value in GRID.items()},
        "final.attempts": 1,
    }
    config = "conf/test.toml"
    trials = TRIALS

    def command(self) -> list[str]:
        words = ["jobs/tune.py", "--data", self.material.data, "--out", self.out]
        words += ["--config", self.config, "--max-trials", self.trials, *self.flags()]
        for key, value in self.settings.items():
            words += ["--set", f"{key}={value}"]
        return [str(word) for word in words]

    def flags(self) -> tuple[object, ...]:
        return ("--set", "search.trial_timeout=40")

    def reached(self, moment: float, log: Path, mark: str) -> bool:
        done = len(list((self.out / "trials").glob("*.json")))
        return done >= int(moment * self.trials) and super().reached(moment, log, mark)

    def again(self) -> list[str]:
        if (self.out / "run.json").exists():
            return ["jobs/tune.py", "--resume", str(self.out)]
        return self.command()

    def finished(self) -> dict[Path, bytes]:
        trials = read_trials(Directory(self.out))
        # Trials that a dying driver has cancelled run again.
        kept = [trial_file(t.number) for t in trials if t.status != "cancelled"]
        return {path: path.read_bytes() for path in (self.out / "trials" / name for name in kept)}

    def check(self, fault: str) -> None:
        self.check_disk()
        result = json.loads((self.out / "result.json").read_text())
        trials = read_trials(Directory(self.out))
        assert [trial.number for trial in trials] == list(range(self.trials))
        assert len({json.dumps(trial.params) for trial in trials}) == self.trials
        assert sum(result["trials"].values()) == self.trials
        broken = [trial for trial in trials if trial.status not in {"ok", "pruned"}]
        # A trial whose own process was hit has failed, and says so.
        assert len(broken) <= fault.startswith("Python process"), broken
        there = {path.name for path in self.out.iterdir()}
        assert not there & {"checkpoints", "running", "tested.json", "set-aside"}
        assert {"model.keras", "model.json", "report.html", "settings.toml"} <= there


class Features(Tune):
    """Hit while executors compute features."""

    settings: ClassVar[dict[str, object]] = {
        "search.strategy": "grid",
        "search.head_epochs": 4,
        "search.cross_validation": 1,
        "space.head_units": "{choices = [0, 4]}",
        "space.learning_rate": 0.003,
        "space.fine_tune": 0.0,
        "space.backbone_rate": 0.1,
        "space.l2": 0.001,
        "space.augment": "true",
        "features.views": 16,
        "final.attempts": 1,
    }
    trials = 2

    def command(self) -> list[str]:
        backbone = self.material.backbone
        own = ("--backbone", backbone, "--set", f'space.backbone="{backbone}"')
        return [*super().command(), *map(str, own)]

    def flags(self) -> tuple[object, ...]:
        return ("--data", self.material.many)

    def reached(self, moment: float, log: Path, mark: str) -> bool:
        chunks = -(-read_manifest(Directory(self.material.many)).total(TRAIN) // CHUNK)
        done = len(list((self.out / "features").glob("*/*.npy")))
        return done >= int(moment * chunks) and bool(pythons(mark))

    def check(self, fault: str) -> None:
        super().check(fault)
        assert not (self.out / "features").exists()


class Final(Tune):
    share = 0.3
    settings: ClassVar[dict[str, object]] = {
        "final.epochs": EPOCHS,
        "space.filters": 4,
        "space.batch_size": 16,
        "model.precision": "float32",
    }
    config = "conf/train.toml"
    trials = 1

    def flags(self) -> tuple[object, ...]:
        return ("--final-workers", 2)

    def reached(self, moment: float, log: Path, mark: str) -> bool:
        return "training the winner" in log.with_suffix(".out").read_text()

    def check(self, fault: str) -> None:
        super().check(fault)
        final = json.loads((self.out / "result.json").read_text())["final"]
        assert [epoch["epoch"] for epoch in final["epochs"]] == list(range(1, EPOCHS + 1))
        assert final["workers"] == 2


class Predict(Job):
    share = 0.8

    def command(self) -> list[str]:
        words = ("--model", self.material.run, "--images", self.material.images, "--csv")
        return ["jobs/predict.py", *map(str, words), "--out", str(self.out)]

    def check(self, fault: str) -> None:
        self.check_disk()
        paths = pq.read_table(self.out / "predictions", columns=["path"])["path"].to_pylist()
        assert sorted(paths) == self.material.names()
        assert len((self.out / "predictions.csv").read_text().splitlines()) == IMAGES + 1


JOBS: dict[str, type[Job]] = {
    "preprocess": Preprocess,
    "tune": Tune,
    "features": Features,
    "final": Final,
    "predict": Predict,
}
