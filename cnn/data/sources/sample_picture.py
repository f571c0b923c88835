"""The pictures of the sample: a face as a softly lit photograph and as an inked drawing."""

import math

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from cnn.data.sources.sample_face import Face, Floats

Pixels = NDArray[np.uint8]

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


def light_on(face: Face, size: int) -> Floats:
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


def photograph(face: Face, light: Floats, rng: Generator) -> Pixels:
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


def comic(face: Face, light: Floats, rng: Generator) -> Pixels:
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


def _solid(colors: Floats) -> list[tuple[int, ...]]:
    """Rows of red, green, blue as Pillow wants them, with the mask's 255 behind."""
    return [(*row, 255) for row in np.clip(colors, 0, 255).astype(int).tolist()]
