"""The networks of keras.applications that can be a backbone, with weights of ImageNet.

Imports no Keras: jobs that train nothing read the table too.
"""

import difflib
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal
from urllib.parse import urljoin

from cnn.core.errors import InputError

if TYPE_CHECKING:
    import keras

# How a network wants its pixels. inside: from 0 to 255, which it scales itself; unit: from -1 to 1;
# torch: from 0 to 1, minus the mean and divided by the standard deviation of ImageNet's channels;
# caffe: BGR minus ImageNet's means.
Pixels = Literal["inside", "unit", "torch", "caffe"]
_MEAN, _DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_BGR_MEAN = (103.939, 116.779, 123.68)

_STORE = "https://storage.googleapis.com/tensorflow/keras-applications/"
_TF = "_weights_tf_dim_ordering_tf_kernels_notop.h5"
_MOBILENET_V2 = "mobilenet_v2/mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_224_no_top.h5"
_MOBILENET_V3 = "mobilenet_v3/weights_mobilenet_v3_{last}_224_1.0_float_no_top_v2.h5"
# In Keras's messages about a download.
_NOT_FETCHED, _WRONG_HASH = "URL fetch failure", "Incomplete or corrupted file"


@dataclass(frozen=True)
class Application:
    """A network of keras.applications.

    Attributes:
        name: Its name in a space.
        constructor: The name of its function in keras.applications.
        side: Height and width of the images that it was trained on, in pixels.
        features: How many numbers it gives for an image, after global average pooling.
        parameters: The number of its weights without the classifying layer.
        pixels: How it wants its pixels.
        location: Where Keras finds its weights, relative to the other networks'.
        cached_as: The name of that file in Keras's cache, if it is another.
    """

    name: str
    constructor: str
    side: int
    features: int
    parameters: int
    pixels: Pixels
    location: str
    cached_as: str = ""

    @property
    def url(self) -> str:
        """Where Keras fetches the weights."""
        return urljoin(_STORE, self.location)

    @property
    def weights_file(self) -> str:
        """The name of the file of weights in Keras's cache."""
        return self.cached_as or self.location.rpartition("/")[2]


def _family(
    pixels: Pixels, location: str, *rows: tuple[str, str, int, int, int], cached_as: str = ""
) -> list[Application]:
    """The networks of a family, of which `location` and `cached_as` hold a part of the name."""
    return [
        Application(
            *row,
            pixels,
            _spelled(location, name=row[0], constructor=row[1]),
            _spelled(cached_as, name=row[0], constructor=row[1]),
        )
        for row in rows
    ]


def _spelled(template: str, *, name: str, constructor: str) -> str:
    return template.format(name=name, lower=constructor.lower(), last=name.rpartition("_")[2])


# Name, constructor, side, features, parameters.
_ALL = (
    *_family(
        "inside",
        "convnext/{name}_notop.h5",
        ("convnext_tiny", "ConvNeXtTiny", 224, 768, 27_820_128),
        ("convnext_small", "ConvNeXtSmall", 224, 768, 49_454_688),
        ("convnext_base", "ConvNeXtBase", 224, 1024, 87_566_464),
        ("convnext_large", "ConvNeXtLarge", 224, 1536, 196_230_336),
        ("convnext_xlarge", "ConvNeXtXLarge", 224, 2048, 348_147_968),
    ),
    *_family(
        "torch",
        "densenet/{name}" + _TF,
        ("densenet121", "DenseNet121", 224, 1024, 7_037_504),
        ("densenet169", "DenseNet169", 224, 1664, 12_642_880),
        ("densenet201", "DenseNet201", 224, 1920, 18_321_984),
    ),
    *_family(
        "inside",
        "/keras-applications/{lower}_notop.h5",
        ("efficientnet_b0", "EfficientNetB0", 224, 1280, 4_049_571),
        ("efficientnet_b1", "EfficientNetB1", 240, 1280, 6_575_239),
        ("efficientnet_b2", "EfficientNetB2", 260, 1408, 7_768_569),
        ("efficientnet_b3", "EfficientNetB3", 300, 1536, 10_783_535),
        ("efficientnet_b4", "EfficientNetB4", 380, 1792, 17_673_823),
        ("efficientnet_b5", "EfficientNetB5", 456, 2048, 28_513_527),
        ("efficientnet_b6", "EfficientNetB6", 528, 2304, 40_960_143),
        ("efficientnet_b7", "EfficientNetB7", 600, 2560, 64_097_687),
    ),
    *_family(
        "inside",
        "efficientnet_v2/efficientnetv2-{last}_notop.h5",
        ("efficientnet_v2_b0", "EfficientNetV2B0", 224, 1280, 5_919_312),
        ("efficientnet_v2_b1", "EfficientNetV2B1", 240, 1280, 6_931_124),
        ("efficientnet_v2_b2", "EfficientNetV2B2", 260, 1408, 8_769_374),
        ("efficientnet_v2_b3", "EfficientNetV2B3", 300, 1536, 12_930_622),
        ("efficientnet_v2_l", "EfficientNetV2L", 480, 1280, 117_746_848),
        ("efficientnet_v2_m", "EfficientNetV2M", 480, 1280, 53_150_388),
        ("efficientnet_v2_s", "EfficientNetV2S", 384, 1280, 20_331_360),
    ),
    *_family(
        "unit",
        "{name}/{name}" + _TF,
        ("inception_resnet_v2", "InceptionResNetV2", 299, 1536, 54_336_736),
        ("inception_v3", "InceptionV3", 299, 2048, 21_802_784),
        ("xception", "Xception", 299, 2048, 20_861_480),
    ),
    *_family(
        "unit",
        "mobilenet/mobilenet_1_0_224_tf_no_top.h5",
        ("mobilenet", "MobileNet", 224, 1024, 3_228_864),
    ),
    *_family(
        "unit",
        _MOBILENET_V2,
        ("mobilenet_v2", "MobileNetV2", 224, 1280, 2_257_984),
    ),
    *_family(
        "inside",
        _MOBILENET_V3,
        ("mobilenet_v3_large", "MobileNetV3Large", 224, 960, 2_996_352),
        ("mobilenet_v3_small", "MobileNetV3Small", 224, 576, 939_120),
    ),
    *_family(
        "unit",
        "nasnet/NASNet-{last}-no-top.h5",
        ("nasnet_large", "NASNetLarge", 331, 4032, 84_916_818),
        ("nasnet_mobile", "NASNetMobile", 224, 1056, 4_269_716),
        cached_as="{name}_no_top.h5",
    ),
    *_family(
        "caffe",
        "resnet/{name}" + _TF,
        ("resnet101", "ResNet101", 224, 2048, 42_658_176),
        ("resnet152", "ResNet152", 224, 2048, 58_370_944),
        ("resnet50", "ResNet50", 224, 2048, 23_587_712),
    ),
    *_family(
        "unit",
        "resnet/{lower}" + _TF,
        ("resnet101_v2", "ResNet101V2", 224, 2048, 42_626_560),
        ("resnet152_v2", "ResNet152V2", 224, 2048, 58_331_648),
        ("resnet50_v2", "ResNet50V2", 224, 2048, 23_564_800),
    ),
    *_family(
        "caffe",
        "{name}/{name}" + _TF,
        ("vgg16", "VGG16", 224, 512, 14_714_688),
        ("vgg19", "VGG19", 224, 512, 20_024_384),
    ),
)
APPLICATIONS = {found.name: found for found in _ALL}


def is_file(backbone: str) -> bool:
    """Whether a backbone of a space is a path or a URI, not a name of keras.applications."""
    return "/" in backbone or backbone.endswith(".keras")


def application(name: str) -> Application:
    """The network of a name. Raises InputError with similar names if there is none."""
    if name in APPLICATIONS:
        return APPLICATIONS[name]
    raise InputError(
        "a backbone must be a name of keras.applications in snake case or the path of a .keras "
        f"file, but got {name!r}{_did_you_mean(name)}"
    )


def _did_you_mean(name: str) -> str:
    plain = {known.replace("_", ""): known for known in APPLICATIONS}
    asked = re.sub(r"[\W_]", "", name.lower())
    near = [asked] if asked in plain else difflib.get_close_matches(asked, plain, n=3)
    if "." in name:
        # A file that is not a .keras file.
        near = []
    *most, last = [plain[one] for one in near] or [""]
    names = f"{', '.join(most)} or {last}" if most else last
    return f"; did you mean {names}?" if names else "; docs/backbones.md lists the names"


def build_application(
    name: str, *, weights: Literal["imagenet"] | None = "imagenet"
) -> "keras.Model":
    """Builds a network of keras.applications with its scaling of pixels and its average.

    Keras fetches the weights into its own cache, `models/` in KERAS_HOME, unless they are there.

    Args:
        name: A name of APPLICATIONS.
        weights: Those of ImageNet, or None for random ones.

    Returns:
        A network from float32 (batch, side, side, 3), RGB pixels from 0 to 255, to float32 (batch,
        features). It equals Keras's `preprocess_input`, network and global average.

    Raises:
        InputError: The name is unknown, or the weights cannot be fetched or read.
    """
    import keras

    found = application(name)
    shape = (found.side, found.side, 3)
    pixels = keras.Input(shape, name="pixels")
    scaled = scale(pixels, found.pixels)
    constructor = getattr(keras.applications, found.constructor)
    with _clear_messages(found) if weights else nullcontext():
        network = constructor(
            include_top=False,
            weights=weights,
            input_tensor=scaled,
            input_shape=shape,
            pooling="avg",
        )
    # Keras's own has a list of one input.
    return keras.Model(pixels, network.output, name=network.name)


def scale(pixels: "keras.KerasTensor", to: Pixels) -> "keras.KerasTensor":
    """Scales pixels without weights, which would shift those that Keras reads from its file."""
    from keras import layers, ops

    if to == "inside":
        return pixels
    if to == "unit":
        return layers.Rescaling(1 / 127.5, offset=-1, dtype="float32", name="scale")(pixels)
    if to == "torch":
        scale = [1 / (255 * deviation) for deviation in _DEVIATION]
        offset = [-mean / deviation for mean, deviation in zip(_MEAN, _DEVIATION, strict=True)]
        return layers.Rescaling(scale, offset=offset, dtype="float32", name="scale")(pixels)
    means = [-mean for mean in _BGR_MEAN]
    bgr = ops.flip(pixels, axis=-1)
    return layers.Rescaling(1.0, offset=means, dtype="float32", name="scale")(bgr)


def weights_path(found: Application) -> Path:
    """The path of a network's weights in Keras's cache, as Keras 3.15 chooses it."""
    home = os.environ.get("KERAS_HOME") or "~/.keras"
    base = Path(home).expanduser()
    if not os.access(base, os.W_OK):
        base = Path("/tmp/.keras")
    return base / "models" / found.weights_file


@contextmanager
def _clear_messages(found: Application) -> Iterator[None]:
    """Turns what Keras raises about a file of weights into one line."""
    path = weights_path(found)
    cached = path.exists()
    try:
        yield
    except Exception as error:
        # Keras raises a plain Exception if a file cannot be fetched, and h5py any if it is damaged.
        reason = " ".join(str(error).split()) or type(error).__name__
        where = f"the weights of {found.name} must be in {path}"
        put = f"download {found.url} elsewhere, and put it there"
        if _NOT_FETCHED in reason:
            # Keras has removed a file whose hash is wrong before it fetches another.
            what = "the file there was damaged" if cached else "there is no such file"
            why = reason.rpartition(" -- ")[2]
            line = f"{where}, but {what} and it cannot be fetched: {why}; {put}"
        elif _WRONG_HASH in reason:
            path.unlink(missing_ok=True)
            line = f"{where}, but {found.url} gave a file with another hash; {put}"
        else:
            line = f"{where}, but it cannot be fetched or read: {reason}; {put}"
        raise InputError(line) from None
