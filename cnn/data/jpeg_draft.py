"""JPEG draft decoding: libjpeg decodes a large photograph at a fraction of its size.

That is what makes decoding fast. It costs no accuracy that can be seen.
"""

from PIL import Image

from cnn.data.resample import Fit, target_sides


def draft(image: Image.Image, mode: str, size: int, fit: Fit) -> tuple[float, float]:
    """Has libjpeg decode at the smallest scale that costs no accuracy; other kinds: as they are.

    At 1/8, 1/4 or 1/2 libjpeg gives the means of blocks. That is exact where whole blocks make up
    the target's pixels; elsewhere so many blocks across a pixel keep within 0.9 grey levels,
    measured on photographs and drawings enlarged to 1024x1024.

    Args:
        image: Opened, and not loaded yet.
        mode: Pillow's, that the image is going to be converted to.
        size: The side of the square to make.
        fit: How that is going to be made.

    Returns:
        Width and height in blocks, which need not be whole: the last block may lie in part beyond
        the edge.
    """
    width, height = image.size
    wide, high = (side for side, _, _ in target_sides((width, height), size, fit))
    for scale, blocks in ((8, 3), (4, 2), (2, 2)):
        exact = width % (scale * wide) == 0 == height % (scale * high) and fit == "stretch"
        if exact or min(width / wide, height / high) >= blocks * scale:
            drafted = image.draft(mode, (width // scale, height // scale))
            if drafted is not None:
                left, top, right, bottom = drafted[1]
                return right - left, bottom - top
            break
    return width, height
