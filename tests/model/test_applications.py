"""Networks of keras.applications as backbones: the table, pixels, and weights that are missing."""

import http.server
import importlib
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import keras
import numpy as np
import pytest
from support.paths import REPOSITORY

from cnn.core.errors import InputError
from cnn.model.applications import (
    APPLICATIONS,
    Pixels,
    application,
    build_application,
    scale,
    weights_path,
)
from cnn.model.export import export_model
from cnn.model.file_check import foreign_part

QUICK = ("mobilenet_v3_small", "mobilenet")
FAMILIES = ["convnext", "densenet", "efficientnet_b", "efficientnet_v2", "inception", "mobilenet"]
FAMILIES += ["nasnet", "resnet", "vgg", "xception"]
# A fresh process that knows nothing of this program: each file's output on its own pixels.
LOADS = """
import sys, keras, numpy as np
for path in sys.argv[1:]:
    model = keras.models.load_model(path, safe_mode=True, compile=False)
    np.save(path + ".npy", model(np.load(path + ".pixels.npy"), training=False))
    keras.utils.clear_session()
assert not any(name.partition(".")[0] == "cnn" for name in sys.modules)
"""


def keras_answer(name: str, ours: keras.Model, pixels: np.ndarray) -> np.ndarray:
    """What Keras's own preprocessing and network give with the same weights."""
    found = APPLICATIONS[name]
    constructor = getattr(keras.applications, found.constructor)
    network = constructor(
        include_top=False, weights=None, input_shape=pixels.shape[1:], pooling="avg"
    )
    network.set_weights(ours.get_weights())
    module = importlib.import_module(constructor.__module__)
    return np.asarray(network(module.preprocess_input(pixels.copy()), training=False))


@pytest.mark.parametrize(
    "names",
    [
        pytest.param(QUICK, id="quick"),
        *(
            pytest.param(
                tuple(name for name in APPLICATIONS if name.startswith(family)),
                marks=[pytest.mark.slow, pytest.mark.timeout(1800)],
                id=family,
            )
            for family in FAMILIES
        ),
    ],
)
def test_it_equals_kerass_own_and_loads_where_only_keras_is(
    names: tuple[str, ...], tmp_path: Path
) -> None:
    paths, answers = [], []
    for name in names:
        found = APPLICATIONS[name]
        keras.utils.set_random_seed(1)
        model = build_application(name, weights=None)
        side = found.side
        assert model.input_shape == (None, side, side, 3)
        assert model.output_shape == (None, found.features)
        assert model.count_params() == found.parameters
        assert foreign_part(keras.saving.serialize_keras_object(model)) is None
        rng = np.random.default_rng(0)
        pixels = rng.uniform(0, 255, (2, side, side, 3)).astype(np.float32)
        answer = np.asarray(model(pixels, training=False))
        assert answer.dtype == np.float32
        assert np.ptp(answer, axis=0).max() > 0, "two images must not give the same features"
        close_to(answer, keras_answer(name, model, pixels), name)
        path = tmp_path / f"{name}.keras"
        model.save(path)
        np.save(f"{path}.pixels.npy", pixels)
        paths.append(path)
        answers.append(answer)
        keras.utils.clear_session()
    subprocess.run([sys.executable, "-c", LOADS, *map(str, paths)], check=True, cwd=tmp_path)
    for path, answer in zip(paths, answers, strict=True):
        close_to(np.load(f"{path}.npy"), answer, path.name)


def close_to(answer: np.ndarray, expected: np.ndarray, name: str) -> None:
    """Within the rounding of float32 in a deep network."""
    scale = float(np.abs(expected).max())
    np.testing.assert_allclose(answer, expected, rtol=1e-4, atol=1e-5 * scale, err_msg=name)


@pytest.mark.parametrize(("to", "mode"), [("unit", "tf"), ("torch", "torch"), ("caffe", "caffe")])
def test_pixels_are_scaled_as_keras_does_and_in_onnx_too(
    to: Pixels, mode: str, tmp_path: Path
) -> None:
    pixels = np.random.default_rng(0).uniform(0, 255, (2, 4, 4, 3)).astype(np.float32)
    expected = keras.applications.imagenet_utils.preprocess_input(pixels.copy(), mode=mode)
    inputs = keras.Input((4, 4, 3))
    model = keras.Model(inputs, scale(inputs, to))
    assert model.weights == []
    np.testing.assert_allclose(model(pixels), expected, rtol=1e-5, atol=1e-5)
    export_model(model, tmp_path / "scale.onnx", "onnx", pixels, expected)


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("EfficientNetV2B0", "; did you mean efficientnet_v2_b0?"),
        ("resnet50v2", "; did you mean resnet50_v2?"),
        ("mobilnet", "; did you mean mobilenet, mobilenet_v2 or mobilenet_v3_small?"),
        ("xyzzy", "; docs/backbones.md lists the names"),
        ("", "; docs/backbones.md lists the names"),
    ],
)
def test_an_unknown_name(name: str, near: str) -> None:
    with pytest.raises(InputError) as raised:
        application(name)
    assert str(raised.value) == (
        "a backbone must be a name of keras.applications in snake case or the path of a .keras "
        f"file, but got {name!r}{near}"
    )


def test_the_table_has_all_networks() -> None:
    constructors = {name for name in vars(keras.applications) if name[0].isupper()}
    assert {found.constructor for found in APPLICATIONS.values()} == constructors


def test_the_document_has_the_table() -> None:
    text = (REPOSITORY / "docs" / "backbones.md").read_text()
    rows = re.findall(r"^(\| `\w+` \| [\d,]+ \| .*) \| \S+ \|$", text, re.MULTILINE)
    assert rows == [
        f"| `{found.name}` | {found.parameters * 4 / 1e6:,.0f} | {found.side} | "
        f"{found.parameters:,} | {found.features:,} | {found.pixels}"
        for found in APPLICATIONS.values()
    ]
    assert f"All {len(rows)} networks of `keras.applications` can be a backbone" in text


@pytest.mark.parametrize(
    "names", [QUICK, pytest.param(tuple(APPLICATIONS), marks=pytest.mark.slow)], ids=["few", "all"]
)
def test_the_table_names_the_files_that_keras_asks_for(
    names: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, str]] = []

    def get_file(fname: str, origin: str, **_: object) -> None:
        asked.append((fname, origin))
        raise OSError("asked")

    monkeypatch.setattr("keras.src.utils.file_utils.get_file", get_file)
    for name in names:
        with pytest.raises(InputError, match="asked"):
            build_application(name)
        keras.utils.clear_session()
    assert asked == [(found.weights_file, found.url) for found in map(application, names)]


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of Keras's."""
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    # Keras reads the variable when it is imported.
    monkeypatch.setattr("keras.src.backend.config._KERAS_DIR", str(tmp_path))
    return tmp_path / "models"


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """A network whose proxy refuses, as one without a way out."""
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    # Without it, urllib keeps the proxies of its first request.
    monkeypatch.setattr("urllib.request._opener", None)


@pytest.mark.usefixtures("offline")
def test_without_network_and_weights_it_says_what_is_missing(cache: Path) -> None:
    found = application("mobilenet_v3_small")
    assert weights_path(found) == cache / found.weights_file
    line = (
        f"^the weights of mobilenet_v3_small must be in {cache / found.weights_file}, but there is "
        f"no such file and it cannot be fetched: .*refused; download {found.url} elsewhere, and "
        "put it there$"
    )
    with pytest.raises(InputError, match=line):
        build_application(found.name)
    assert not list(cache.iterdir())


@pytest.mark.usefixtures("offline")
def test_a_truncated_file_of_weights_is_said_to_be_damaged(cache: Path) -> None:
    cache.mkdir()
    # Keras knows the hash of these weights, and removes what has another.
    hashed = application("mobilenet_v3_small")
    weights_path(hashed).write_bytes(b"\x89HDF\r\n\x1a\n and no more")
    line = r"but the file there was damaged and it cannot be fetched: .*refused; download https://"
    with pytest.raises(InputError, match=line):
        build_application(hashed.name)
    assert not list(cache.iterdir())
    # Of these it knows none.
    other = application("mobilenet")
    weights_path(other).write_bytes(b"\x89HDF\r\n\x1a\n and no more")
    with pytest.raises(InputError, match=r"but it cannot be fetched or read: .*file.*; download"):
        build_application(other.name)
    assert list(cache.iterdir()) == [weights_path(other)]


def test_weights_in_the_cache_are_used(cache: Path) -> None:
    cache.mkdir()
    keras.utils.set_random_seed(3)
    own = keras.applications.MobileNet(include_top=False, weights=None, input_shape=(224, 224, 3))
    own.save(weights_path(application("mobilenet")))
    pixels = np.random.default_rng(0).uniform(0, 255, (1, 224, 224, 3)).astype(np.float32)
    model = build_application("mobilenet")
    scaled = keras.applications.mobilenet.preprocess_input(pixels.copy())
    expected = np.asarray(own(scaled, training=False)).mean(axis=(1, 2))
    close_to(np.asarray(model(pixels, training=False)), expected, "mobilenet")


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[int, bytes], None]]:
    """Makes Keras fetch MobileNetV3 from a server that claims a length and sends data."""
    answer: list[tuple[int, bytes]] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            length, content = answer[-1]
            self.send_response(200)
            self.send_header("Content-Length", str(length))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setattr(
        "keras.src.applications.mobilenet_v3.BASE_WEIGHT_PATH",
        f"http://127.0.0.1:{server.server_port}/",
    )
    yield lambda length, content: answer.append((length, content))
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(
    ("length", "line"),
    [
        (5000, "but there is no such file and it cannot be fetched: .*; download https://"),
        (4000, "but https://.* gave a file with another hash; download https://"),
    ],
    ids=["interrupted", "another file"],
)
def test_a_download_that_fails_leaves_nothing(
    cache: Path, serve: Callable[[int, bytes], None], length: int, line: str
) -> None:
    serve(length, b"x" * 4000)
    with pytest.raises(InputError, match=line) as raised:
        build_application("mobilenet_v3_small")
    assert "\n" not in str(raised.value)
    assert not list(cache.iterdir())
