"""A stand-in for the Kaggle set "comic-faces paired synthetic v2": invented faces, drawn here.

Each pair is one person, rendered once as a softly lit photograph and once as an inked drawing.
Both renderings pass the same exposure step, so that brightness and contrast say little about the
class; lines, flat areas and shading do. It serves smoke tests and says nothing about real faces.
"""

import math
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
    """A filled outline in picture units; an open line where the material is empty."""

    points: Floats
    material: str
    ink: float  # line width in pen widths; 0 draws no line


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
    brown = rng.random()
    skin = _between(_SKINS, brown)
    colors = {
        "skin": skin,
        "hair": _between(_HAIRS, rng.random() * (1 - 0.6 * brown)),
        "lip": skin * (0.86, 0.62, 0.62) + (14, 0, 4),
        "white": np.array((236, 234, 230)),
        "iris": _between(_EYES, rng.random() * (1 - 0.8 * brown)),
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
    parting, fringe = rng.uniform(-0.5, 0.5), rng.uniform(-0.62, -0.4)
    line = fringe - 0.2 * np.exp(-(((across - parting) / 0.25) ** 2)) + 0.5 * across**4
    hairline = np.stack((across + 0.2 * pose.turn[0] * (1 - across**2), line), axis=1)
    # Hairs run beside each other from the parting towards the ears: 0 outward is the hairline.
    start = round(float(np.interp(parting, across, np.arange(24))))
    along = np.linspace(np.full(70, start), rng.integers(0, 24, 70), 9).astype(int)
    outward = rng.random((70, 1)) * np.linspace(1, 0.75, 9)[:, None, None]
    strands = hairline[along] * (1 - outward) + top[along] * outward
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
    corner = 0.59 - smile
    parts: list[tuple[Floats, str, float]] = []
    if rng.random() < 0.25:
        half = [(0, 0.44), (0.35, 0.5), (0.6, 0.5), (0.95, 0.2), (0.75, 0.9), (0.3, 1.15)]
        parts.append((_smooth(half + [(-x, y) for x, y in half[:0:-1]]), "hair", 0.7))
    for side in (-1, 1):
        eye = np.array((side * apart, 0))
        look = eye + np.array((gaze, -0.01))
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
    bow = [(-0.28, corner), (-0.1, 0.57 - lip), (0, 0.58 - lip), (0.1, 0.57 - lip), (0.28, corner)]
    full = [(-0.26, corner), (0, 0.6), (0.26, corner), (0.15, 0.62 + 1.4 * lip)]
    slit = [(-0.29, corner - 0.01), (-0.1, 0.6), (0.1, 0.6), (0.29, corner - 0.01)]
    parts += [
        (_smooth([*bow, (0, 0.62)]), "lip", 0.3),
        (_smooth([*full, (-0.15, 0.62 + 1.4 * lip)]), "lip", 0.4),
        (_smooth(slit, closed=False), "", 1.2),
    ]
    if rng.random() < 0.2:
        rim = np.concatenate((_CIRCLE, _CIRCLE[:1])) * 0.27
        bridge = np.array([(0.27 - apart, -0.03), (0, -0.07), (apart - 0.27, -0.03)])
        aside = np.array((apart, 0))
        parts += [(points, "", 1.5) for points in (rim - aside, rim + aside, bridge)]
    return [Shape(_place(pose, points, on_ball=True), what, ink) for points, what, ink in parts]


def _light(face: Face, size: int) -> Floats:
    """The light that each point sends back, (size, size) float32, about 0.4 to 1.2.

    The head is a ball with a few bumps, the body a broad cylinder. All of it is smooth, so it is
    computed at a third of the resolution.
    """
    center, radii, (yaw, pitch, roll) = (values.tolist() for values in face.pose)
    to_x, to_y, to_z = face.light
    axis = np.linspace(-1, 1, max(size // 3, 32), dtype=np.float32)
    x, y = axis[None, :] - center[0], axis[:, None] - center[1]
    u = (math.cos(roll) * x + math.sin(roll) * y) / radii[0]
    v = (math.cos(roll) * y - math.sin(roll) * x) / radii[1]
    aside, down = np.abs(u - math.sin(yaw)), v - math.sin(pitch)
    bumps = np.zeros_like(u)
    for cx, cy, width, height, rise in _RELIEF:
        bumps += rise * np.exp(-(((aside - cx) / width) ** 2) - ((down - cy) / height) ** 2)
    slope_y, slope_x = np.gradient(bumps, (axis[1] - axis[0]).item() / radii[0])
    distance = np.hypot(u, v)
    inside = np.minimum(1, 0.95 / np.maximum(distance, 0.01))
    nx, ny = u * inside - slope_x, v * inside - slope_y
    nz = np.sqrt(1 - (distance * inside) ** 2)
    head = (nx * to_x + ny * to_y + nz * to_z) / np.sqrt(nx**2 + ny**2 + nz**2)
    # The head shades the neck below it.
    shade, wide = np.clip((distance - 0.75) / 0.6, 0.25, 1), np.clip(x, -0.9, 0.9)
    body = (0.9 * wide * to_x + np.sqrt(1 - 0.8 * wide**2) * to_z + 0.1) * shade
    blend = np.clip((v - 0.55) * 8, 0, 1) * np.clip((distance - 0.96) * 25, 0, 1)
    return _resize(0.4 + 0.75 * np.maximum(0, head + (body - head) * blend), size)


def _photo(face: Face, light: Floats, rng: Generator) -> Pixels:
    """Soft shading, gloss, skin texture, single hairs, blur and sensor noise."""
    size = len(light)
    spread = rng.uniform(0.1, 0.45)
    gain = rng.uniform(1 - spread, 1 + spread, (len(face.strands), 1))
    hairs = face.colors["hair"] * gain + 30 * (gain - 1)
    figure, mask = _paint(face, size, hairs, blur=rng.uniform(-0.5, 1.0))
    texture = 1 + _field(rng, size // 3, size, rng.uniform(0.005, 0.03))
    tone = 1 + mask * (light * texture - 1)
    gloss = rng.uniform(20, 70) * np.clip((light - 0.98) * 5, 0, 1) ** 2 * mask
    backdrop = _field(rng, 4, size, 25) * (1 - mask)
    figure *= tone
    figure += gloss + backdrop
    return _expose(figure, rng)


def _comic(face: Face, light: Floats, rng: Generator) -> Pixels:
    """Ink outlines, flat colours, a shadow tone with hatching, and paper grain."""
    size = len(light)
    ink = rng.uniform((10, 8, 14), (55, 40, 44)).astype(np.float32)
    few = face._replace(strands=face.strands[: rng.integers(8, 40)])
    hairs = np.tile(ink, (len(few.strands), 1))
    pen, blur = rng.uniform(1.1, 2.6), rng.uniform(-0.5, 0.7)
    figure, mask = _paint(few, size, hairs, blur=blur, ink=ink, pen=pen)
    edge, soft = rng.uniform(0.6, 0.8), float(rng.choice((0.01, 0.04, 0.2)))
    shadow = np.clip((edge - light) / soft, 0, 1) * mask
    backdrop = _field(rng, 2, size, rng.uniform(0, 30))
    figure *= 1 - rng.uniform(0.1, 0.35) * shadow
    figure += (1 - mask) * backdrop
    if rng.random() < 0.85:
        angle, turns = rng.uniform(0.3, 1.3), rng.uniform(200, 400)
        across = np.linspace(0, turns, size, dtype=np.float32)
        wave = np.sin(across * math.cos(angle) + across[:, None] * math.sin(angle))
        # The darker it is, the wider the lines.
        hatching = np.clip((wave + 5 * (edge - light) - 1) * 2, 0, 1) * (shadow > 0)
        figure += (ink[:, None, None] - figure) * (hatching * mask * rng.uniform(0.5, 0.9))
    return _expose(figure, rng)


def _paint(
    face: Face,
    size: int,
    hairs: Floats,
    *,
    blur: float,
    ink: Floats | None = None,
    pen: float = 0.9,
) -> tuple[Floats, Floats]:
    """The figure in flat colours before a flat backdrop, and its mask from 0 to 1.

    Colours are (3, size, size) float32, which is the faster order. With ink, shapes have
    outlines. `hairs` are the strands' colours; `pen` and `blur` count pixels of a picture 256 wide.
    """
    # The fourth channel becomes the mask: 0 in the backdrop, 255 in all that is drawn.
    colors = dict(zip(face.colors, _solid(np.array([*face.colors.values()])), strict=True))
    image = Image.new("RGBX", (2 * size, 2 * size), (*colors["backdrop"][:3], 0))
    draw, unit = ImageDraw.Draw(image), pen * size / 128
    line_color = colors["dark"] if ink is None else _solid(ink[None])[0]

    def line(points: Floats, color: tuple[int, ...], width: float) -> None:
        draw.line(points.ravel().tolist(), color, max(1, round(width * unit)))

    for shape in face.shapes:
        points = (shape.points + 1) * size
        if not shape.material:
            line(points, line_color, shape.ink)
            continue
        draw.polygon(points.ravel().tolist(), colors[shape.material])
        if ink is not None and shape.ink:
            closed = np.concatenate((points, points[:1]))
            line(closed, line_color, shape.ink)
            if shape.ink > 1:  # large outlines swell on the side away from the light
                line(closed - np.array(face.light[:2]) * unit * 0.6, line_color, shape.ink)
    for points, color in zip((face.strands + 1) * size, _solid(hairs), strict=True):
        line(points, color, 0.7)
    image = image.reduce(2)
    if blur > 0:
        image = image.filter(ImageFilter.BoxBlur(blur * size / 256))
    planes = np.stack([np.asarray(band) for band in image.split()]).astype(np.float32)
    return planes[:3], planes[3] / 255


def _expose(picture: Floats, rng: Generator) -> Pixels:
    """Adds grain and sets a brightness and contrast drawn alike for photographs and comics.

    Works in place: new arrays of this size cost more than the sums.
    """
    level, spread, grain = rng.uniform(95, 160), rng.uniform(38, 62), rng.uniform(1, 16)
    some = picture[:, ::4, ::4]
    gain = spread / max(float(some.std()), 1)
    noise = rng.random(picture.shape[1:], np.float32) * grain
    noise += level - grain / 2 - gain * float(some.mean())
    picture *= gain
    picture += noise
    return np.stack([*np.clip(picture, 0, 255, out=picture).astype(np.uint8)], axis=-1)


def _field(rng: Generator, cells: int, size: int, deviation: float) -> Floats:
    """Soft noise, (size, size), with about `cells` bumps across."""
    return _resize(rng.standard_normal((cells, cells), np.float32) * deviation, size)


def _resize(values: Floats, size: int) -> Floats:
    image = Image.fromarray(values.astype(np.float32))
    return np.asarray(image.resize((size, size), Image.Resampling.BICUBIC))


def _place(pose: Pose, points: Floats, *, on_ball: bool = False) -> Floats:
    """Head units, where the skull is the unit circle, to picture units."""
    if on_ball:
        depth = np.sqrt(np.clip(1 - 0.8 * (points**2).sum(axis=1, keepdims=True), 0.05, 1))
        points = points * np.cos(pose.turn[:2]) + depth * np.sin(pose.turn[:2])
    cos, sin = np.cos(pose.turn[2]), np.sin(pose.turn[2])
    return points * pose.radii @ np.array([(cos, sin), (-sin, cos)]) + pose.center


def _smooth(points: ArrayLike, *, closed: bool = True) -> Floats:
    """A curve along a polygon, which rounds its corners (a quadratic B-spline)."""
    knots = np.array(points, np.float64)
    ends = (knots[-1:], knots[:1]) if closed else (knots[:1], knots[-1:])
    knots = np.concatenate((ends[0], knots, ends[1]))[:, None]
    at = np.linspace(0, 1, 8)[:, None]
    curve = (1 - at) ** 2 * knots[:-2] + (1 + 2 * at - 2 * at**2) * knots[1:-1] + at**2 * knots[2:]
    return curve.reshape(-1, 2) / 2


def _between(colors: list[tuple[int, int, int]], at: float) -> Floats:
    """The colour at 0 (the first) to 1 (the last) of a row of colours."""
    places = np.linspace(0, 1, len(colors))
    return np.array([np.interp(at, places, channel) for channel in zip(*colors, strict=True)])


def _solid(colors: Floats) -> list[tuple[int, ...]]:
    """Rows of red, green, blue as Pillow wants them, with the mask's 255 behind."""
    return [(*row, 255) for row in np.clip(colors, 0, 255).astype(int).tolist()]
