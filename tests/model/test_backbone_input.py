"""What cannot be a backbone: one line with the rule and the value, and nothing is left behind."""

import re
import zipfile
from collections.abc import Callable
from pathlib import Path

import keras
import pytest
from support.backbones import save_backbone

from cnn.core.directory import Directory
from cnn.core.errors import InputError
from cnn.model.backbone import put_backbone
from cnn.model.backbone_card import image_settings


def image(*shape: int | None, batch: int | None = None) -> keras.KerasTensor:
    return keras.Input(batch_shape=(batch, *shape))


def saved(inputs: object, outputs: object) -> Callable[[Path], None]:
    return lambda path: keras.Model(inputs, outputs).save(path)


def taking(*shape: int | None, batch: int | None = None) -> Callable[[Path], None]:
    def save(path: Path) -> None:
        inputs = image(*shape, batch=batch)
        keras.Model(inputs, keras.layers.Dense(2)(inputs)).save(path)

    return save


def giving(make: Callable[[keras.KerasTensor], object]) -> Callable[[Path], None]:
    def save(path: Path) -> None:
        inputs = image(8, 8, 3)
        keras.Model(inputs, make(inputs)).save(path)

    return save


def of_two(path: Path) -> None:
    inputs = [image(8, 8, 3), image(8, 8, 3)]
    keras.Model(inputs, keras.layers.Add()(inputs)).save(path)


def changed(change: Callable[[str, bytes], bytes | None]) -> Callable[[Path], None]:
    """A whole backbone whose archive has each member changed, or left out for None."""

    def save(path: Path) -> None:
        whole = save_backbone(path.with_name("whole.keras"))
        with zipfile.ZipFile(whole) as old, zipfile.ZipFile(path, "w") as new:
            for name in old.namelist():
                content = change(name, old.read(name))
                if content is not None:
                    new.writestr(name, content)
        whole.unlink()

    return save


def cut(path: Path) -> None:
    save_backbone(path)
    path.write_bytes(path.read_bytes()[:-2000])


class Own(keras.layers.Layer):
    """A layer of the user's own."""

    def call(self, x: keras.KerasTensor) -> keras.KerasTensor:
        return x


READ = "must be a .keras file that Keras can read in safe mode, but PLACE is not: "
# What is in the file, what is said, and whether it is said without Keras, by preprocess --for too.
CASES: dict[str, tuple[Callable[[Path], object], str, bool]] = {
    "missing": (lambda path: None, "or a .keras file, but PLACE does not exist$", True),
    "a folder": (Path.mkdir, "or a .keras file, but PLACE is a folder$", True),
    "text": (lambda path: path.write_text("x" * 99), f"{READ}File is not a zip file$", True),
    "empty": (Path.touch, f"{READ}it is empty$", True),
    "truncated": (cut, f"{READ}File is not a zip file$", True),
    "no config": (
        changed(lambda name, data: None if name == "config.json" else data),
        f"{READ}.*config.json",
        True,
    ),
    "odd config": (
        changed(lambda name, data: b"[1]" if name == "config.json" else data),
        f"{READ}its config.json is malformed",
        True,
    ),
    "no weights": (
        changed(lambda name, data: None if name.startswith("model.") else data),
        "must have weights, but PLACE has no model.weights.h5$",
        True,
    ),
    "cut weights": (
        changed(lambda name, data: data[:3000] if name.startswith("model.") else data),
        READ,
        False,
    ),
    "other weights": (
        changed(
            lambda name, data: (
                data.replace(b'"filters": 16', b'"filters": 17') if name == "config.json" else data
            )
        ),
        READ,
        False,
    ),
    "code": (
        giving(lambda x: keras.layers.Lambda(lambda y: y)(x)),
        r"only Keras's own layers and no code, but PLACE has a function's code \(.*ambda.*\)$",
        True,
    ),
    "own layer": (
        giving(lambda x: Own()(x)),
        "only Keras's own layers and no code, but PLACE has 'Own' of 'test_backbone_input'$",
        True,
    ),
    "two inputs": (of_two, "must have one input, but PLACE has 2 inputs$", True),
    "two outputs": (
        giving(lambda x: [keras.layers.Dense(2)(x), keras.layers.Dense(3)(x)]),
        "must have one output, but PLACE has 2$",
        False,
    ),
    "grey": (taking(8, 8, 1), "must take RGB images, but PLACE takes 1 channel$", True),
    "five": (taking(8, 8, 5), "must take RGB images, but PLACE takes 5 channels$", True),
    "not square": (taking(8, 9, 3), "take square images, but PLACE takes 8 by 9 pixels$", True),
    "half fixed": (taking(8, None, 3), "square images, but PLACE takes 8 by None pixels$", True),
    "a vector": (
        taking(12),
        r"take images as \(batch, height, width, 3\), but PLACE takes \(None, 12\)$",
        True,
    ),
    "a fixed batch": (taking(8, 8, 3, batch=4), r"but PLACE takes \(4, 8, 8, 3\)$", True),
    "a sequence": (
        giving(lambda x: keras.layers.Reshape((64, 3))(x)),
        r"must give \(batch, height, width, features\) or .* but PLACE gives \(None, 64, 3\)$",
        False,
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_what_is_no_backbone(case: str, tmp_path: Path) -> None:
    make, line, without_keras = CASES[case]
    path = tmp_path / "x.keras"
    make(path)
    before = sorted(tmp_path.rglob("*"))
    pattern = f"^a backbone {'.*' if not line.startswith('must') else ''}"
    pattern += line.replace("PLACE", re.escape(str(path)))
    with pytest.raises(InputError, match=pattern) as raised:
        put_backbone(str(path), tmp_path / "new" / "backbones")
    assert "\n" not in str(raised.value)
    assert sorted(tmp_path.rglob("*")) == before
    if without_keras:
        with pytest.raises(InputError) as again:
            image_settings(str(path), {})
        assert str(again.value) == str(raised.value)


def test_a_name_that_is_neither(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"or a \.keras file, but got \S*/net\.h5$"):
        put_backbone(str(tmp_path / "net.h5"), tmp_path)
    with pytest.raises(InputError, match="but got 'EfficientNetV2B0'; did you mean efficientnet_"):
        put_backbone("EfficientNetV2B0", tmp_path)
    assert not list(tmp_path.iterdir())


def test_what_suits_a_backbone_is_set_unless_it_was_given(tmp_path: Path) -> None:
    assert image_settings("efficientnet_b1", {}) == {"color_mode": "rgb", "image_size": 240}
    given = {"color_mode": "grayscale", "image_size": 64, "seed": 1}
    assert image_settings("efficientnet_b1", given) == given
    path = save_backbone(tmp_path / "own.keras")
    assert image_settings(str(path), {}) == {"color_mode": "rgb", "image_size": 32}
    assert image_settings(f"file://{path}", {}) == {"color_mode": "rgb", "image_size": 32}
    free = save_backbone(tmp_path / "free.keras", side=None)
    assert image_settings(str(free), {"seed": 1}) == {"color_mode": "rgb", "seed": 1}
    sequential = keras.Sequential([keras.Input((48, 48, 3)), keras.layers.Flatten()])
    sequential.add(keras.layers.Dense(3))
    sequential.save(tmp_path / "sequential.keras")
    settings = image_settings(str(tmp_path / "sequential.keras"), {})
    assert settings == {"color_mode": "rgb", "image_size": 48}


def test_a_file_in_a_store(place: Directory, tmp_path: Path) -> None:
    path = save_backbone(tmp_path / "own.keras")
    place.write("own.keras", path.read_bytes())
    uri = f"{place.uri}/own.keras"
    assert image_settings(uri, {}) == {"color_mode": "rgb", "image_size": 32}
    found = put_backbone(uri, tmp_path / "new")
    assert found.name == uri
    assert (tmp_path / "new" / found.file_name).read_bytes() == path.read_bytes()
    with pytest.raises(InputError, match=r"or a \.keras file, but \S*/none\.keras does not exist$"):
        put_backbone(f"{place.uri}/none.keras", tmp_path / "other")
    assert not (tmp_path / "other").exists()
