"""The examples in docstrings, run as they stand there."""

import doctest
import importlib
import pkgutil
from pathlib import Path
from typing import Any

import pytest
from support.images import write_images

import cnn
from cnn import preprocess, tune

QUICK = {"max_trials": 1, "epochs": 1, "min_steps": 0, "cross_validation": 1}


def examples() -> list[doctest.DocTest]:
    """All examples of the package, by the names of what they explain."""
    names = [module.name for module in pkgutil.walk_packages(cnn.__path__, "cnn.")]
    modules = [importlib.import_module(name) for name in names if not name.endswith("__main__")]
    found = [test for m in modules for test in doctest.DocTestFinder().find(m, m.__name__)]
    return [test for test in found if test.examples]


@pytest.fixture(scope="module")
def known(spark: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What examples may use: a session, a folder of images, an image, a data set, and a run."""
    place = tmp_path_factory.mktemp("examples")
    write_images(place / "images", {"cats": 24, "dogs": 24})
    data = preprocess(spark, place / "images", place / "data", image_size=32)
    run = tune(spark, data, place / "run", search=QUICK)
    image = next((place / "images" / "cats").iterdir())
    paths = {"images": str(place / "images"), "image": str(image), "run": run.path}
    return {"spark": spark, "data": data, **paths}


EXAMPLES = examples()


def test_what_the_package_offers_has_an_example() -> None:
    shown = {example.name.rpartition(".")[2] for example in EXAMPLES}
    assert shown >= {"preprocess", "tune", "Run", "Classifier", "Trials", "build"}


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.name)
def test_an_example_gives_what_it_says(
    example: doctest.DocTest, known: dict[str, Any], tmp_path: Path
) -> None:
    example.globs |= {**known, "out": str(tmp_path / "out")}
    said: list[str] = []
    failed, tried = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(
        example, out=said.append
    )
    assert tried
    assert not failed, "".join(said)
