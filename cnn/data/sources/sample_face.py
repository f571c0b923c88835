"""The invented faces of the sample: a person, a pose and a light as shapes to be drawn."""

from typing import NamedTuple

import numpy as np
from numpy.random import Generator
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.floating]

_SKINS = [(246, 214, 190), (232, 188, 156), (204, 150, 114), (152, 102, 72), (108, 74, 58)]
_HAIRS = [(40, 32, 32), (84, 54, 36), (150, 88, 44), (216, 180, 116), (158, 154, 154)]
_EYES = [(60, 38, 24), (96, 120, 80), (80, 120, 160)]
_ANGLES = np.linspace(0, 2 * np.pi, 48, endpoint=False)
_CIRCLE = np.stack((np.cos(_ANGLES), np.sin(_ANGLES)), axis=1)


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


def invent_face(rng: Generator) -> Face:
    """Invents a person in a pose, with a light and colours; `rng` alone decides which."""
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
    """Hair behind the head, hair over the forehead, and single hairs of the forehead."""
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
