"""Drawn images that have to be learned: sets of any size, from a seed."""

import numpy as np

SIZE = 64
DISC_CLASSES, RING_CLASSES = 4, 6


def discs(
    count: int, seed: int, contrast: tuple[int, int] = (20, 70)
) -> tuple[np.ndarray, np.ndarray]:
    """Pictures of a small striped disc in noise: uint8 (count, 64, 64, 1), and which way it runs.

    Place, size, wavelength, phase and contrast vary, and the angle by up to a third of the way to
    the next class, so that what tells the classes apart has to be learned. It is a texture, which
    a small part of the disc shows.
    """
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, DISC_CLASSES, count)
    y, x = np.mgrid[:SIZE, :SIZE]
    pixels = np.empty((count, SIZE, SIZE, 1), np.uint8)
    for index, label in enumerate(labels):
        angle = (label + rng.uniform(-1, 1) / 3) * np.pi / DISC_CLASSES
        wave = 2 * np.pi / rng.uniform(4, 9)
        radius = rng.uniform(10, 20)
        row, column = rng.uniform(radius, SIZE - radius, 2)
        stripes = np.sin(wave * (np.cos(angle) * x + np.sin(angle) * y) + rng.uniform(0, 2 * np.pi))
        inside = (y - row) ** 2 + (x - column) ** 2 < radius**2
        noisy = 128 + rng.uniform(*contrast) * stripes * inside + rng.normal(0, 22, (SIZE, SIZE))
        pixels[index, :, :, 0] = np.clip(noisy, 0, 255)
    return pixels, labels


def rings(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Pictures of a broken ring in noise: uint8 (count, 64, 64, 1), and to which side it is open.

    It is the ring of an eye test (Landolt, 1888) with six sides, and a line is in its way. Place,
    size, stroke, gap and contrast vary, and the side by up to a quarter of the way to the next one.
    To which side a gap opens is a matter of form: it takes more than a few pixels to see it.
    """
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, RING_CLASSES, count)
    y, x = np.mgrid[:SIZE, :SIZE]
    pixels = np.empty((count, SIZE, SIZE, 1), np.uint8)
    for index, label in enumerate(labels):
        radius, stroke = rng.uniform(10, 18), rng.uniform(2, 4)
        row, column = SIZE / 2 + rng.uniform(-8, 8, 2)
        ring = np.abs(np.hypot(y - row, x - column) - radius) < stroke / 2
        open_at = (label + rng.uniform(-1, 1) / 4) * 2 * np.pi / RING_CLASSES
        away = np.angle(np.exp(1j * (np.arctan2(y - row, x - column) - open_at)))
        ring &= np.abs(away) * radius > rng.uniform(3, 6.5)
        tilt, (row, column) = rng.uniform(0, np.pi), rng.uniform(10, SIZE - 10, 2)
        line = np.abs((x - column) * np.sin(tilt) - (y - row) * np.cos(tilt)) < 1
        ink = np.maximum(ring, rng.uniform(0.4, 1) * line)
        noisy = 90 + rng.uniform(60, 150) * ink + rng.normal(0, 25, (SIZE, SIZE))
        pixels[index, :, :, 0] = np.clip(noisy, 0, 255)
    return pixels, labels
