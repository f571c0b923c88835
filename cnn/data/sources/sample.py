"""A stand-in for the Kaggle set "comic-faces paired synthetic v2": invented faces, drawn here.

Each pair is one person, rendered once as a softly lit photograph and once as an inked drawing.
Both renderings pass the same exposure step, so that brightness and contrast say little about the
class; lines, flat areas and shading do. It is for smoke tests and says nothing about real faces.
"""

from pathlib import Path

import numpy as np
from PIL import Image

from cnn.data.sources.sample_face import invent_face
from cnn.data.sources.sample_picture import Pixels, comic, light_on, photograph

FOLDER = Path("face2comics_v2.0.0_by_Sxela") / "face2comics_v2.0.0_by_Sxela"


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
    face = invent_face(rng)
    light = light_on(face, size)
    return photograph(face, light, rng), comic(face, light, rng)
