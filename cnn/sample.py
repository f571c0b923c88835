"""A stand-in for the Kaggle set "comic-faces paired synthetic v2": invented faces, drawn here.

Each pair is one person, rendered once as a softly lit photograph and once as an inked drawing.
Both renderings pass the same exposure step, so that brightness and contrast say little about the
class; lines, flat areas and shading do. It serves smoke tests and says nothing about real faces.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.random import Generator
from numpy.typing import ArrayLike, NDArray
from PIL import Image, ImageDraw, ImageFilter

FOLDER = Path("face2comics_v2.0.0_by_Sxela") / "face2comics_v2.0.0_by_Sxela"

Floats = NDArray[np.floating]
Pixels = NDArray[np.uint8]

_SKINS = [(246, 214, 190), (232, 188, 156), (204, 150, 114), (152, 102, 72), (108, 74, 58)]
_HAIRS = [(40, 32, 32), (84, 54, 36), (150, 88, 44), (216, 180, 116), (158, 154, 154)]
_EYES = [(60, 38, 24), (96, 120, 80), (80, 120, 160)]
_ANGLES = np.linspace(0, 2 * np.pi, 48, endpoint=False)
_CIRCLE = np.stack((np.cos(_ANGLES), np.sin(_ANGLES)), axis=1)
# Bumps of a face, each on both sides: x, y, width, height and how far they rise.
_RELIEF = [
    (0.0, -0.30, 0.60, 0.12, 0.04),  # brow
    (0.0, 0.05, 0.10, 0.30, 0.12),  # nose
    (0.0, 0.30, 0.15, 0.10, 0.13),  # its tip
    (0.4, 0.00, 0.20, 0.12, -0.08),  # eye sockets
    (0.5, 0.35, 0.20, 0.18, 0.05),  # cheeks
    (0.0, 0.60, 0.25, 0.10, 0.04),  # lips
    (0.0, 0.90, 0.20, 0.12, 0.05),  # chin
]


class Pose(NamedTuple):
    """Where the head is, in picture units: -1 to 1 across the picture, x right, y down."""

    center: Floats
    radii: Floats
    turn: Floats  # yaw, pitch, roll in radians


class Shape(NamedTuple):
    """A filled outline in picture units; a line where the material is empty."""

    points: Floats
    material: str
    ink: float  # line width in pen widths


class Face(NamedTuple):
    """One person as both renderings see it."""

    pose: Pose
    light: list[float]  # unit vector towards the light; z towards the viewer
    colors: dict[str, Floats]
    shapes: list[Shape]  # each covers those before it
    strands: Floats  # (hairs, points, 2), each from root to tip


def write_sample(root: Path, pairs: int, *, size: int = 256, seed: int = 0) -> None:
    """Draws `pairs` pairs and writes them as ROOT/FOLDER/{faces,comics}/N.jpg, N from 0.

    Images are `size` pixels square. Pair N depends on the seed and N alone, so that a larger
    sample contains the smaller one.
    """
    folders = [root / FOLDER / name for name in ("faces", "comics")]
    for folder in folders:
        folder.mkdir(parents=True, exist_ok=True)
    for index in range(pairs):
        for folder, pixels in zip(folders, draw_pair(index, size=size, seed=seed), strict=True):
            Image.fromarray(pixels).save(folder / f"{index}.jpg", quality=90)


def draw_pair(index: int, *, size: int = 256, seed: int = 0) -> tuple[Pixels, Pixels]:
    """Photograph and comic of person `index`, each uint8 RGB of shape (size, size, 3).

    `size` is in pixels, 32 or more.
    """
    if size < 32:
        raise ValueError(f"size must be at least 32 pixels, but is {size}")
    rng = np.random.default_rng([seed, index])
    face = _invent(rng)
    light = _light(face, size)
    return _photo(face, light, rng), _comic(face, light, rng)


def _invent(rng: Generator) -> Face:
    """A person in a pose, with a light and colours."""
    pose = Pose(
        center=rng.uniform((-0.12, -0.14), (0.12, 0.0)),
        radii=rng.uniform((0.40, 0.52), (0.46, 0.58)) * rng.uniform(1.0, 1.25),
        turn=rng.uniform((-0.45, -0.15, -0.2), (0.45, 0.15, 0.2)),
    )
    light = np.array((rng.choice((-1, 1)) * rng.uniform(0.2, 0.8), rng.uniform(-0.7, -0.1), 0.7))
    skin = _between(_SKINS, rng)
    colors = {
        "skin": skin,
        "hair": _between(_HAIRS, rng),
        "lip": skin * (0.86, 0.62, 0.62) + (14, 0, 4),
        "white": np.array((236, 234, 230)),
        "iris": _between(_EYES, rng),
        "dark": np.array((28, 22, 24)),
        "cloth": rng.uniform(40, 215) + rng.normal(0, 26, 3),
        "collar": rng.uniform(40, 215) + rng.normal(0, 26, 3),
        "backdrop": rng.uniform(50, 205) + rng.normal(0, 20, 3),
    }
    back, front, strands = _hair(pose, rng)
    shapes = [back, *_body(pose, rng), *_features(pose, rng), front]
    return Face(pose, (light / np.linalg.norm(light)).tolist(), colors, shapes, strands)


def _hair(pose: Pose, rng: Generator) -> tuple[Shape, Shape, Floats]:
    """Hair behind the head, hair over the forehead, and single hairs of the latter."""
    volume, length = rng.uniform(0.06, 0.26), rng.choice((0.1, 0.5, 1.2, 1.7))
    frizz = 1 + volume + rng.choice((0, 0, 0.05)) * np.sin(_ANGLES * 12)[:, None]
    back = _CIRCLE * frizz
    back[:, 1] *= np.where(back[:, 1] > 0, length, 1)
    # From ear to ear over the skull, and back along the hairline.
    top = _CIRCLE[24:] * frizz[24:]
    across = np.linspace(-0.97, 0.97, 24)
    parting, fringe = rng.uniform(-0.6, 0.6), rng.uniform(-0.72, -0.42)
    line = fringe - 0.25 * np.exp(-(((across - parting) / 0.25) ** 2)) + 0.5 * across**4
    hairline = np.stack((across + 0.2 * pose.turn[0] * (1 - across**2), line), axis=1)
    # Hairs fall from the parting to both sides.
    ends = rng.integers(1, 23, 110)
    root = (parting, -1 - 0.6 * volume) + rng.normal(0, (0.12, 0.04), (110, 2))
    middle = top[ends] * rng.uniform(0.75, 1, (110, 1))
    tip = hairline[ends] * rng.uniform(1, 1.1, (110, 1))
    at = np.linspace(0, 1, 9)[:, None, None]
    strands = (1 - at) ** 2 * root + 2 * at * (1 - at) * middle + at**2 * tip
    front = np.concatenate((top, hairline[::-1]))
    return (
        Shape(_place(pose, back), "hair", 1.2),
        Shape(_place(pose, front), "hair", 1.2),
        _place(pose, strands).swapaxes(0, 1),
    )


def _body(pose: Pose, rng: Generator) -> list[Shape]:
    """Neck, shoulders, collar, ears and the bare head."""
    upright = pose._replace(turn=np.zeros(3))
    slope, low = rng.uniform(1.2, 1.45), rng.uniform(1.4, 1.8)
    neck = [(-0.5, 0.3), (0.5, 0.3), (0.52, 1.6), (-0.52, 1.6)]
    cloth = [(-0.5, 1.1), (0, low), (0.5, 1.1), (1.5, slope), (2.3, 4), (-2.3, 4), (-1.5, slope)]
    collar = [(-0.5, 1.1), (0, low), (0.5, 1.1), (0.7, 1.2), (0, low + 0.4), (-0.7, 1.2)]
    shapes = [
        Shape(_place(upright, _smooth(points)), material, 1.2)
        for points, material in ((neck, "skin"), (cloth, "cloth"), (collar, "collar"))
    ]
    for side in (-1, 1):
        ear = _CIRCLE * (0.13, 0.2) + (side * 0.99 - 0.2 * pose.turn[0], 0.1)
        shapes.append(Shape(_place(pose, ear), "skin", 0.9))
    below = np.clip(_CIRCLE[:, 1:], 0, 1) ** 2
    jaw = _CIRCLE * (1 - below * (rng.uniform(0.1, 0.3), 0)) + below * (0.35 * pose.turn[0], 0)
    return [*shapes, Shape(_place(pose, jaw), "skin", 1.3)]


def _features(pose: Pose, rng: Generator) -> list[Shape]:
    """Eyes, brows, nose and mouth; for some a beard or glasses."""
    apart, lid, gaze = rng.uniform(0.37, 0.43), rng.uniform(0.055, 0.085), rng.uniform(-0.06, 0.06)
    smile, lip, wing = rng.uniform(-0.03, 0.1), rng.uniform(0.04, 0.09), rng.uniform(0.1, 0.16)
    brow, tilt, bushy = rng.uniform(-0.28, -0.18), rng.uniform(-0.06, 0.06), rng.uniform(0.02, 0.05)
    corner, mouth = 0.59 - smile, np.array((0, 0.6))
    parts: list[tuple[Floats, str, float]] = []
    if rng.random() < 0.25:
        half = [(0, 0.44), (0.35, 0.5), (0.6, 0.5), (0.95, 0.2), (0.75, 0.9), (0.3, 1.15), (0, 1.15)]
        parts.append((_smooth(half + [(-x, y) for x, y in half[-2:0:-1]]), "hair", 0.7))
    for side in (-1, 1):
        eye = np.array((side * apart, 0))
        look = eye + (gaze, -0.01)
        almond = [(-0.2, 0.02), (0, -1.6 * lid), (0.2, 0.02), (0, 1.3 * lid)]
        upper = [(-0.21, 0.03), (-0.08, -1.15 * lid), (0.08, -1.15 * lid), (0.21, 0.02)]
        arch = [(-0.2, bushy), (0, -0.06), (0.24, tilt), (0, bushy - 0.06), (-0.2, 2 * bushy)]
        nostril = [(wing, 0.3), (wing + 0.02, 0.36), (0.06, 0.38)]
        parts += [
            (_smooth(almond) + eye, "white", 0.4),
            (_CIRCLE * (0.09, lid) + look, "iris", 0.3),
            (_CIRCLE * 0.042 + look, "dark", 0.3),
            (_CIRCLE * 0.02 + look - 0.03, "white", 0),
            (_smooth(upper, closed=False) + eye, "", 1.4),
            (_smooth(arch) * (side, 1) + eye + (0, brow), "hair", 0.5),
            (_smooth(nostril, closed=False) * (side, 1), "", 0.9),
        ]
