"""`from cnn import preprocess, tune` in a real Jupyter kernel, and what both refuse."""

import functools
import os
import re
import threading
from pathlib import Path
from typing import Any

import pytest
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell, new_notebook
from support.images import write_images
from support.jobs import SHORT_LIVED, clean_environment
from support.paths import REPOSITORY

from cnn import DataSet, InputError, Run, preprocess, tune
from cnn.core.directory import Directory
from cnn.model.builder import builder_name
from cnn.model.network import build as our_build
from cnn.model.own_function import load_function, pack
from cnn.rundir.trials import read_trials

HOSTILE = "<img src=x onerror=alert(1)>"
QUICK = {"epochs": 1, "min_steps": 0, "cross_validation": 1, "halving": False}

# Ctrl-C, when the first trial is on disk.
STOPPED = """
import os, signal, threading, time
from pathlib import Path

def interrupt():
    while not Path("runs/stopped/trials/00000.json").exists():
        time.sleep(0.05)
    os.kill(os.getpid(), signal.SIGINT)

spark.sparkContext.setJobDescription("the reader's own")
threading.Thread(target=interrupt).start()
quick = {"max_trials": 2, "parallelism": 1, "epochs": 1, "min_steps": 0, "cross_validation": 1}
tune(spark, data, "runs/stopped", search=quick, space=space, build=build)
"""
TYPO = "tune(spark, data, search={'max_trails': 3})"
# The command line has no function to go on with.
COMMAND_LINE = """
import subprocess
command = [{job!r}, "jobs/tune.py", "--resume", os.path.abspath("runs/stopped")]
done = subprocess.run(command, cwd={root!r}, env={env!r}, capture_output=True, text=True)
print(done.returncode, done.stderr)
"""
RESUMED = """
before = Path("runs/stopped/trials/00000.json").stat().st_mtime_ns
again = tune(spark, out="runs/stopped", resume=True, build=build)
print(len(again.trials()), Path("runs/stopped/trials/00000.json").stat().st_mtime_ns == before)
"""
LEFT = """
import sys, time
# Long enough for Spark's own bar, which the cells before have not.
spark.sparkContext.parallelize(range(4), 2).foreach(lambda _: time.sleep(1))
print(spark.range(10).count(), spark.sparkContext.getLocalProperty("spark.job.description"))
print("CNN_PRELOAD" in spark.sparkContext.environment, spark.sparkContext.pythonExec)
print(sorted({name.partition(".")[0] for name in sys.modules} & {"keras", "tensorflow"}))
"""


def readme_code() -> str:
    """The README's cells, with a reader's own folder and what makes them quick."""
    readme = (REPOSITORY / "README.md").read_text()
    code = next(c for c in re.findall(r"```python\n(.*?)```", readme, re.DOTALL) if "tune(" in c)
    quick = ", ".join(f"{key!r}: {value!r}" for key, value in QUICK.items())
    code = code.replace('"DIR"', '"images"').replace("image_size=128", "image_size=64")
    code = code.replace('"max_trials": 12', f'"max_trials": 2, {quick}').replace("[*]", "[2]")
    assert quick in code
    return code


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the notebook runs: with images, one class of which has a name that is HTML."""
    root = tmp_path_factory.mktemp("notebook")
    write_images(root / "images", {"cats": 20, "dogs": 20})
    (root / "images" / "dogs").rename(root / "images" / HOSTILE)
    (root / "face.jpg").write_bytes((root / "images" / "cats" / "cats-0.png").read_bytes())
    return root


@pytest.fixture(scope="module")
def notebook(folder: Path) -> dict[str, list[Any]]:
    """What each cell puts out."""
    # With Keras in the driver from here on: the model is used last.
    code, use, rest = readme_code().partition("run.classifier()")
    line = COMMAND_LINE.format(
        job=str(REPOSITORY / "spark-submit.sh"), root=str(REPOSITORY), env=clean_environment()
    )
    cells = {"readme": code, "data": "data", "typo": TYPO, "stopped": STOPPED}
    cells |= {"command line": line}
    cells |= {"resumed": RESUMED, "left": LEFT, "used": f"{use}{rest}"}
    raises = {"tags": ["raises-exception"]}
    stop = dict.fromkeys(("typo", "stopped"), raises)
    made = [new_code_cell(cell, metadata=stop.get(name, {})) for name, cell in cells.items()]
    notebook = new_notebook(cells=made)
    # As a kernel has it whose environment nobody has activated, and that knows of no test: it shows
    # then what Spark's JVM writes too.
    ours = ("SPARK_", "PYSPARK_", "PYTEST_")
    env = {k: v for k, v in os.environ.items() if not k.startswith(ours)}
    env |= {"PATH": os.defpath + ":" + env["PATH"], "SPARK_SUBMIT_OPTS": SHORT_LIVED}
    client = NotebookClient(notebook, timeout=500, resources={"metadata": {"path": str(folder)}})
    client.execute(env=env)
    return dict(zip(cells, [cell.outputs for cell in notebook.cells], strict=True))


@pytest.fixture(scope="module")
def outputs(notebook: dict[str, list[Any]]) -> dict[str, str]:
    """What each cell shows, as HTML where it has any."""
    return {name: "\n".join(map(_shown, found)) for name, found in notebook.items()}


def _stdout(outputs: list[Any]) -> str:
    return "".join(output.text for output in outputs if output.get("name") == "stdout").strip()


def _shown(output: Any) -> str:
    data = output.get("data", {})
    return str(output.get("text") or data.get("text/html") or data.get("text/plain", ""))


@pytest.mark.slow
def test_the_readmes_notebook_gives_a_run(folder: Path, outputs: dict[str, str]) -> None:
    assert "phase search: best is trial" in outputs["readme"]
    assert "trials are spawned" in outputs["readme"]
    run = Run.load(folder / "runs" / "notebook")
    assert 0 <= run.interval[0] <= run.test_accuracy <= run.interval[1] <= 1
    assert run.params["depth"] in range(1, 5)
    assert list(run.trials()["params.width"].isin([16, 32])) == [True, True]
    assert Path(run.report).is_file()
    settings = (folder / "runs" / "notebook" / "settings.toml").read_text()
    assert 'builder = "__main__:build"' in settings


@pytest.mark.slow
def test_runs_and_data_show_themselves_and_escape_what_they_name(outputs: dict[str, str]) -> None:
    for cell in ("data", "used"):
        assert "<table" in outputs[cell]
        assert "<img" not in outputs[cell]
        assert "&lt;img src=x onerror=alert(1)&gt;" in outputs[cell]
    assert "Test accuracy" in outputs["used"]
    assert 'href="runs/notebook/report.html"' in outputs["used"]
    # Only what this network has.
    assert "depth <b>" in outputs["used"]
    assert "dense_units" not in outputs["used"]


@pytest.mark.slow
def test_progress_is_one_table_redrawn_in_place(notebook: dict[str, list[Any]]) -> None:
    (shown,) = (o for o in notebook["readme"] if o.output_type == "display_data")
    html = shown.data["text/html"]
    # Its end: were it not redrawn it would be its beginning.
    assert "phase search: 2 of 2 trials done" in html
    assert "training the winner, trial " in html
    assert "trained for 1 epoch and tested on " in html
    assert "<b>test accuracy " in html
    lines = "".join(o.text for o in notebook["readme"] if o.output_type == "stream")
    assert "phase search: best is trial" in lines
    assert "trial 1: ok" not in lines
    assert "\x1b" not in lines


@pytest.mark.slow
def test_sparks_own_bar_is_off_for_our_work_and_then_on_again(outputs: dict[str, str]) -> None:
    for cell in ("readme", "stopped", "resumed"):
        assert "[Stage" not in outputs[cell]
    assert "[Stage" in outputs["left"]


@pytest.mark.slow
def test_a_typo_is_one_line(notebook: dict[str, list[Any]]) -> None:
    (error,) = notebook["typo"]
    assert error.ename == "InputError"
    (line,) = error.traceback
    assert line.startswith("InputError: search.max_trails must be a known setting")


@pytest.mark.slow
def test_an_interrupted_cell_leaves_a_run_that_goes_on(
    folder: Path, notebook: dict[str, list[Any]], outputs: dict[str, str]
) -> None:
    run = folder / "runs" / "stopped"
    (error,) = (o for o in notebook["stopped"] if o.output_type == "error")
    assert error.ename == "Interrupted"
    call = f"tune(spark, out='{run}', resume=True, build=...)"
    hint = f"Interrupted: finished work is on disk; resume with: {call}"
    assert error.traceback == [hint]
    assert "Traceback" not in outputs["stopped"]
    assert outputs["resumed"].strip().endswith("2 True")
    assert [t.number for t in read_trials(Directory(run))] == [0, 1]


@pytest.mark.slow
def test_the_command_line_has_no_function_to_go_on_with(notebook: dict[str, list[Any]]) -> None:
    code, _, errors = _stdout(notebook["command line"]).partition(" ")
    assert code == "2"
    assert "__main__:build was passed in Python: call cnn.tune(..., build=...)" in errors


@pytest.mark.slow
def test_the_session_is_left_as_it_was(notebook: dict[str, list[Any]]) -> None:
    ranged, environment, heavy = _stdout(notebook["left"]).splitlines()
    assert ranged == "10 the reader's own"
    assert environment == "False python3"
    assert heavy == "[]"


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ({"data": "nowhere"}, r"data must name a data set"),
        ({"search": {"max_trails": 3}}, r"search.max_trails must .* did you mean max_trials"),
        ({"search": {"patience": None}}, r"search.patience must be a value that TOML can hold"),
        ({"space": {"filters": our_build}}, r"space.filters must be a value that TOML can hold"),
        ({"config": "nowhere.toml"}, r"config must name a readable file"),
        ({"build": "cnn.model:build"}, r"build must be a function"),
        ({"build": threading.Lock().acquire}, r"build must be a function that can be sent"),
        ({"build": our_build, "model": {"builder": "a:b"}}, r"build cannot be combined with"),
        ({"model": {"builder": "__main__:build"}}, r"__main__:build was passed in Python"),
        ({"resume": True}, r"resume must be used with out"),
        (
            {"resume": True, "out": "x", "overwrite": True},
            r"resume cannot be combined with overwrite",
        ),
        ({"resume": True, "out": "nowhere"}, r"resume must name a run directory"),
    ],
)
def test_wrong_input_is_one_line_and_leaves_nothing(
    spark: Any,
    noise_data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: dict[str, Any],
    line: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=line) as raised:
        tune(spark, **{"data": noise_data, **arguments})
    assert "\n" not in str(raised.value)
    assert not list(tmp_path.iterdir())


def test_preprocess_refuses_with_its_arguments_names(spark: Any, tmp_path: Path) -> None:
    for arguments, line in (
        ({"images": "nowhere"}, "images must be a folder"),
        ({"image_sise": 3}, "did you mean image_size"),
        ({"image_size": 3}, "image_size must be greater"),
        ({"group_regex": "("}, "group_regex must be a regular expression"),
        ({"images": "a", "kaggle": "b/c"}, "images cannot be combined with kaggle"),
    ):
        with pytest.raises(InputError, match=f"^{line}|{line}"):
            preprocess(spark, out=tmp_path / "data", **arguments)
    assert not list(tmp_path.iterdir())


def test_a_session_must_be_a_drivers(noise_data: Path) -> None:
    with pytest.raises(InputError, match="spark must be a SparkSession on a driver, but got"):
        tune(object(), noise_data)  # type: ignore[arg-type]


def test_a_network_that_could_not_be_loaded_again_is_refused_before_the_first_trial(
    spark: Any, noise_data: Path, tmp_path: Path
) -> None:
    def build(params: Any, *, size: int, channels: int, classes: int) -> Any:
        import keras

        pixels = keras.Input((size, size, channels), dtype="uint8")
        x = keras.layers.Lambda(lambda values: values / 255)(pixels)
        x = keras.layers.Dense(classes, activation="softmax")(keras.layers.Flatten()(x))
        return keras.Model(pixels, x)

    with pytest.raises(InputError, match=r"Keras's own layers, .* __main__:build"):
        tune(spark, noise_data, tmp_path / "run", build=build, search={**QUICK, "max_trials": 1})
    assert not list(tmp_path.iterdir())


def test_a_function_is_named_by_where_it_can_be_imported_from() -> None:
    assert builder_name(our_build) == "cnn.model:build"
    assert builder_name(lambda params: None) == "__main__:lambda"
    assert builder_name(functools.partial(our_build, size=3)) == "__main__:build"

    def local() -> int:
        return 3

    assert builder_name(local) == "__main__:local"
    assert load_function("__main__:local", pack(local, "build"))() == 3


def test_a_data_set_says_what_became_of_each_file(noise_data: Path) -> None:
    from cnn.data.manifest import read_manifest

    data = DataSet(str(noise_data), read_manifest(Directory(noise_data)))
    assert re.search(r"cats +24 train +6 test", str(data))
    assert data.rejects() == []
