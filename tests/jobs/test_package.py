"""The package as a whole: light to import, and complete however it comes."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pyspark
import pytest
from support.paths import REPOSITORY

SITE_PACKAGES = Path(pyspark.__file__).parent.parent
CODE = """
import sys
sys.path[:0] = sys.argv[1:]
import cnn
from cnn.report.render import render
from cnn.settings.toml import CONF, load_settings
assert cnn.__file__.startswith(sys.argv[1]), cnn.__file__
small = load_settings([CONF / "small.toml"])
assert small != load_settings()
assert "prefers-color-scheme" in render("style.css.j2")
"""


def test_a_zip_of_the_package_has_its_settings_and_templates(tmp_path: Path) -> None:
    archive = tmp_path / "cnn.zip"
    with zipfile.ZipFile(archive, "w") as package:
        for folder in (REPOSITORY / "cnn", REPOSITORY / "cnn" / "conf"):
            for path in folder.rglob("*"):
                if path.is_file() and "__pycache__" not in path.parts:
                    package.write(path, path.relative_to(REPOSITORY))
    # -S: without site-packages, in which the package may be installed as well.
    command = [sys.executable, "-S", "-c", CODE, str(archive), str(SITE_PACKAGES)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_importing_the_package_imports_nothing_heavy() -> None:
    code = "import sys, cnn; print(cnn.Error, {'pyspark', 'numpy', 'keras'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "set()" in done.stdout


@pytest.mark.parametrize(
    "module",
    [
        "report.page",
        "rundir.result",
        "model.classifier",
        "data.decoding.decode",
        "data.arrays",
        "run",
    ],
)
def test_what_needs_no_session_imports_neither_spark_nor_a_framework(module: str) -> None:
    heavy = {"pyspark", "py4j", "hyperopt", "keras", "tensorflow"}
    code = f"import sys, cnn.{module}; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
