"""Backbones as files and networks: made, checked, loaded, attached to stored pixels.

`cnn.model.backbone_card` has what the driver needs, without Keras.
"""

import tempfile
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import keras
from keras.src.backend.common import global_state

from cnn.core.commit import no_new_folders
from cnn.core.errors import InputError
from cnn.model.applications import build_application, is_file
from cnn.model.backbone_card import Backbone
from cnn.model.backbone_file import (
    copy_checked,
    read_side,
    rewrite,
    sha256_of,
    side_of,
    unreadable,
)
from cnn.model.compute_policy import in_current_policy
from cnn.model.operations import operations
from cnn.model.randomness import without_randomness
from cnn.model.resizing import resize
from cnn.model.trainable import weighted_layers

# Dimensions of an output.
_MAP, _VECTOR = 4, 2


def put_backbone(name_or_uri: str, folder: Path) -> Backbone:
    """Puts a backbone's file into a folder, as <sha256>.keras.

    A network of keras.applications is built and saved; the same weights always give the same bytes.
    A file is copied unchanged after its check.

    Args:
        name_or_uri: A name of keras.applications, or the path or URI of a .keras file.
        folder: Where the file goes; created if necessary.

    Returns:
        What is known of the backbone.

    Raises:
        InputError: There is no such backbone, its weights cannot be fetched, or the file is
            damaged, contains code, or is not a network from RGB images to features. Nothing is left
            behind.
    """
    with no_new_folders(folder / "any"):
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".backbone.", dir=folder) as inside:
            path = Path(inside) / "backbone.keras"
            if is_file(name_or_uri):
                copy_checked(name_or_uri, path)
                model = _load(path, name_or_uri)
            else:
                model = _save_application(name_or_uri, path)
            found = _describe(model, name_or_uri, path)
            path.replace(folder / found.file_name)
    return found


def _save_application(name: str, path: Path) -> keras.Model:
    with _new_names():
        model = build_application(name)
    # The states of random generators are saved too, and start from seeds of this process.
    for generator in _generators(model):
        generator.state.assign(keras.ops.zeros_like(generator.state))
    saved = path.with_name("saved.keras")
    model.save(saved)
    rewrite(saved, path)
    return model


@contextmanager
def _new_names() -> Iterator[None]:
    """Numbers new layers from the first, whatever layers this process has made before."""
    before = global_state.get_global_attribute("object_name_uids")
    global_state.set_global_attribute("object_name_uids", defaultdict(int))
    try:
        yield
    finally:
        global_state.set_global_attribute("object_name_uids", before)


def _describe(model: keras.Model, name: str, path: Path) -> Backbone:
    """The record of a model. Raises InputError if it cannot be a backbone."""
    inputs = [tuple(tensor.shape) for tensor in getattr(model, "inputs", None) or ()]
    side = side_of(inputs, name)
    outputs = [tuple(tensor.shape) for tensor in model.outputs]
    if len(outputs) != 1:
        raise InputError(f"a backbone must have one output, but {name} has {len(outputs)}")
    shape = outputs[0]
    if len(shape) not in (_MAP, _VECTOR) or shape[0] is not None or shape[-1] is None:
        raise InputError(
            "a backbone must give (batch, height, width, features) or (batch, features), but "
            f"{name} gives {shape}"
        )
    return Backbone(
        name=name,
        sha256=sha256_of(path),
        side=side,
        features=shape[-1],
        parameters=model.count_params(),
        operations=operations(model),
        weighted_layers=len(weighted_layers(model)),
        keras_version=keras.__version__,
    )


def load_backbone(path: Path) -> keras.Model:
    """Loads a backbone's file in Keras's safe mode.

    Its layers compute in the current dtype policy, whatever that of the file is; layers that only
    scale pixels compute in float32. Layers such as Dropout take new seeds from Keras's; layers that
    change images at random do so in training only.

    Raises:
        InputError: The file is missing, damaged, contains code, or takes no RGB images.
    """
    read_side(str(path))
    model = without_randomness(in_current_policy(_load(path, str(path))))
    for generator in _generators(model):
        generator.state.assign(keras.random.SeedGenerator().state)
    return model


def _generators(model: keras.Model) -> Iterator[keras.random.SeedGenerator]:
    for layer in model._flatten_layers():
        yield from layer._seed_generators


def _load(path: Path, place: str) -> keras.Model:
    try:
        return keras.models.load_model(path, safe_mode=True, compile=False)
    except Exception as error:
        # A damaged or malicious file can make Keras raise any error.
        raise unreadable(place, error) from None


def extractor(backbone: keras.Model, *, size: int, channels: int) -> keras.Model:
    """Puts stored pixels before a backbone and a global average behind it.

    Pixels are float32 up to the backbone's input, and features are float32, in any dtype policy.
    The backbone's layers compute in the current one. The backbone itself is a layer of the result
    if they do so already, as those of `load_backbone` do; otherwise a copy of it is.

    Args:
        backbone: What `load_backbone` returned.
        size: Height and width of the stored images.
        channels: 1 for grayscale, 3 for RGB.

    Returns:
        A network from uint8 (batch, size, size, channels) to float32 (batch, features), of Keras's
        own layers.

    Raises:
        InputError: The backbone cannot take images of this size.
    """
    layers = keras.layers
    backbone = in_current_policy(backbone)
    side = backbone.input_shape[1]
    pixels = keras.Input((size, size, channels), dtype="uint8", name="pixels")
    x = layers.Rescaling(1.0, dtype="float32", name="pixels_float")(pixels)
    if side not in (None, size):
        x = resize(x, side)
    if channels == 1:
        x = layers.Concatenate(dtype="float32", name="pixels_rgb")([x, x, x])
    try:
        x = backbone(x)
    except ValueError as error:
        reason = " ".join(str(error).split())
        raise InputError(
            f"a backbone must take the images of the data set, but {backbone.name} cannot take "
            f"{size}x{size}: {reason}"
        ) from None
    if len(x.shape) == _MAP:
        x = layers.GlobalAveragePooling2D(dtype="float32", name="average_features")(x)
    else:
        x = layers.Activation("linear", dtype="float32", name="float_features")(x)
    return keras.Model(pixels, x, name="extractor")
