"""Bad input to the jobs: one clear line, exit code 2, and nothing left behind."""

import json
import shutil
from pathlib import Path

import pytest
from support.images import write_images
from support.jobs import Run, one_line
from support.paths import REPOSITORY

TEST_CONFIG = str(REPOSITORY / "conf" / "test.toml")


def refused(submit: Run, folder: Path, *arguments: str | Path) -> str:
    """The one error line of a job that must exit with 2 and leave `folder` as it was."""
    before = sorted(folder.rglob("*"))
    done = submit(*arguments)
    assert done.returncode == 2, done.stdout + done.stderr
    assert sorted(folder.rglob("*")) == before
    return one_line(done.stderr)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--images", "nowhere"], "--images must be a folder, but got nowhere"),
        (["--images", TEST_CONFIG], "one folder of images for each class, but"),
        (["--sample", "0"], "--sample must be 1 or more, but got 0"),
        (["--test-fraction", "3"], "--test-fraction must be less than 1, but got 3.0"),
        (["--image-size", "4"], "--image-size must be greater than or equal to 8, but got 4"),
        (["--color-mode", "sepia"], "--color-mode: invalid choice: 'sepia'"),
        (["--group-regex", "("], "--group-regex must be a regular expression"),
        (["--no-such-flag"], "unrecognized arguments: --no-such-flag"),
    ],
)
def test_preprocess_flags(submit: Run, tmp_path: Path, arguments: list[str], expected: str) -> None:
    out = tmp_path / "data"
    assert expected in refused(submit, tmp_path, "jobs/preprocess.py", *arguments, "--out", out)


@pytest.mark.parametrize(
    ("counts", "arguments", "expected"),
    [
        ({}, [], "must hold images"),
        ({"a": 30}, [], "must hold at least two classes"),
        ({"a": 30, "b": 30, "c": 0}, [], "'c' has none"),
        ({"a": 30, "b": 30}, ["--classes", "a,z"], "'z' has none"),
        ({"a": 30, "b": 30}, ["--classes", "a"], "at least two different classes"),
        ({"a": 30, "b": 2}, [], "every class must have enough groups of images"),
    ],
)
def test_folders_of_images(
    submit: Run, tmp_path: Path, counts: dict[str, int], arguments: list[str], expected: str
) -> None:
    root = write_images(tmp_path / "images", counts)
    root.mkdir(exist_ok=True)
    line = refused(
        submit,
        tmp_path,
        "jobs/preprocess.py",
        "--images",
        root,
        "--out",
        tmp_path / "data",
        *arguments,
    )
    assert expected in line


def test_a_directory_that_is_no_data_set_is_never_replaced(submit: Run, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    line = refused(
        submit, tmp_path, "jobs/preprocess.py", "--out", tmp_path, "--sample", "20", "--overwrite"
    )
    assert "is neither" in line


@pytest.fixture(scope="module")
def data(submit: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("bad") / "data"
    done = submit("jobs/preprocess.py", "--sample", "20", "--image-size", "64", "--out", out)
    assert done.returncode == 0, done.stderr
    return out


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--max-trials", "0"], "search.max_trials must be greater than or equal to 1, but got 0"),
        pytest.param(
            ["--timeout", "-1"],
            "search.timeout must be greater than 0, but got -1.0",
            marks=pytest.mark.slow,
        ),
        (["--config", "none.toml"], "--config must name a readable file, but got none.toml"),
        # What tests/settings/test_settings.py shows without a job.
        *(
            pytest.param(["--set", assignment], expected, marks=pytest.mark.slow)
            for assignment, expected in (
                ("search.epoch=3", "did you mean epochs?"),
                ("search.epochs=0", "search.epochs must be greater than or equal to 1"),
                ("epochs", "--set must be KEY=VALUE, but got 'epochs'"),
                ("space.filters.choices=[0]", "filters must be greater than or equal to 1"),
            )
        ),
        (["--set", "space.conv_layers=9"], "a search space must have a configuration"),
        (["--set", "search.validation_folds=[10]"], "but got 10"),
        (["--set", "search.train_images=2"], "every class must have images to"),
    ],
)
def test_tune_settings(submit: Run, data: Path, arguments: list[str], expected: str) -> None:
    line = refused(
        submit,
        data.parent,
        "jobs/tune.py",
        "--data",
        data,
        "--out",
        data.parent / "run",
        *arguments,
    )
    assert expected in line


def test_a_strategy_without_its_extra_says_what_to_install(
    submit: Run, data: Path, tmp_path: Path
) -> None:
    # A folder of another environment's packages, in which there is no Optuna.
    (tmp_path / "sitecustomize.py").write_text("import sys\nsys.modules['optuna'] = None\n")
    words = ["--data", str(data), "--out", str(tmp_path / "run")]
    done = submit(
        *("jobs/tune.py", *words, "--set", "search.strategy=optuna-tpe"),
        env={"PYTHONPATH": str(tmp_path)},
    )
    assert done.returncode == 2
    line = one_line(done.stderr)
    assert "search.strategy = 'optuna-tpe' needs optuna, which is not installed" in line
    assert "pip install 'spark-cnn-search[optuna]'" in line
    assert not (tmp_path / "run").exists()


def test_no_data_set_names_the_command_that_makes_one(submit: Run, tmp_path: Path) -> None:
    line = refused(submit, tmp_path, "jobs/tune.py", "--data", tmp_path / "data")
    assert "spark-submit jobs/preprocess.py" in line


def test_another_schema_version_is_refused(submit: Run, data: Path, tmp_path: Path) -> None:
    shutil.copytree(data, tmp_path / "data")
    manifest = json.loads((data / "manifest.json").read_text())
    manifest["schema_version"] = 99
    (tmp_path / "data" / "manifest.json").write_text(json.dumps(manifest))
    line = refused(submit, tmp_path, "jobs/tune.py", "--data", tmp_path / "data")
    assert "schema version 1 or 2" in line
    assert "99" in line


def test_size_and_bytes_that_disagree_are_refused(submit: Run, data: Path, tmp_path: Path) -> None:
    shutil.copytree(data, tmp_path / "data")
    manifest = json.loads((data / "manifest.json").read_text())
    manifest["size"] = 48
    (tmp_path / "data" / "manifest.json").write_text(json.dumps(manifest))
    line = refused(
        submit, tmp_path, "jobs/tune.py", "--data", tmp_path / "data", "--out", tmp_path / "run"
    )
    assert "whose images of 48x48x1 have 2304 bytes, but" in line


def test_an_existing_run_needs_overwrite(submit: Run, data: Path, tmp_path: Path) -> None:
    (tmp_path / "settings.toml").touch()
    line = refused(submit, tmp_path, "jobs/tune.py", "--data", data, "--out", tmp_path)
    assert "--overwrite" in line


def test_a_missing_job_is_named(submit: Run, tmp_path: Path) -> None:
    assert "there is no jobs/none.py" in refused(submit, tmp_path, "jobs/none.py")


def test_java_that_is_missing_is_said(submit: Run, tmp_path: Path) -> None:
    done = submit("jobs/tune.py", env={"JAVA_HOME": str(tmp_path)})
    assert done.returncode == 2
    assert "Java must be 17 or newer" in one_line(done.stderr)
