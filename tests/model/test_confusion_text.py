"""Which classes are taken for which, as jobs/predict.py prints it."""

import numpy as np
import pytest

from cnn.model.confusion_text import confusion_lines


def lines(names: list[str], confusion: np.ndarray, width: int = 80) -> list[str]:
    return confusion_lines(names, confusion, width=width, where="OUT/predictions")


def test_few_classes_are_a_table() -> None:
    said = lines(["cats", "dogs"], np.array([[1200, 3], [0, 41]]))
    assert [line.split() for line in said] == [
        ["folder", "cats", "dogs"],
        ["cats", "1,200", "3"],
        ["dogs", "0", "41"],
    ]
    assert len(set(map(len, said))) == 1


@pytest.mark.parametrize("classes", [2, 5, 8])
def test_long_names_stand_once_and_are_told_apart(classes: int) -> None:
    names = ["a genus with a rather long name, its species is number " + str(n) for n in range(8)]
    confusion = np.arange(64).reshape(8, 8)[:classes, :classes]
    said = lines(names[:classes], confusion)
    assert max(map(len, said)) <= 80
    assert len(said) == classes + 1
    columns = [f"({number})" for number in range(1, classes + 1)]
    assert said[0].split() == ["folder", *columns]
    for number, line in enumerate(said[1:]):
        assert line.strip().startswith(f"({number + 1}) a genus")
        assert line.split()[-classes:] == [str(count) for count in confusion[number]]
    shown = {line.partition(")")[2].rsplit(maxsplit=classes)[0] for line in said[1:]}
    assert len(shown) == classes


def test_of_many_classes_the_worst_pairs_are_said_and_where_the_rest_is() -> None:
    names = [f"class {n} " + "with a long name " * 3 for n in range(25)]
    confusion = np.diag(np.full(25, 1000))
    for place in range(12):
        confusion[place, place + 1] = 100 - place
    said = lines(names, confusion)
    assert max(map(len, said)) <= 80
    assert len(said) == 12
    assert said[1].split()[:3] == ["100", "of", "1,100"]
    assert " taken for class 1 " in said[1]
    assert said[10].split()[0] == "91"
    assert said[11].strip() == "2 other pairs; all predictions: OUT/predictions"
    # Nothing wrong, nothing to say.
    assert lines(names, np.diag(np.full(25, 7))) == []


def test_a_table_that_has_no_room_is_the_worst_pairs() -> None:
    names = [f"a class with a long name {n}" for n in range(8)]
    said = lines(names, np.full((8, 8), 1_000_000))
    assert said[0] == "the classes confused most often:"
    assert max(map(len, said)) <= 80


def test_a_name_steers_no_terminal() -> None:
    assert "\x1b" not in "".join(lines(["a\x1b[2J", "b"], np.eye(2, dtype=int)))
