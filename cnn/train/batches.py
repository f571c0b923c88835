"""What a training is shown: batches of memory-mapped images, in another order each epoch.

An order that is drawn image by image would read a set that is larger than memory from all over the
disk. Here blocks of neighbouring rows are shuffled, and then the images within a window of blocks:
the disk reads whole blocks, ahead of their use. A set of up to one window is thereby shuffled
uniformly. In a larger one neighbours stay in one window, each epoch with other blocks; the rows of
a data set were shuffled when it was written, so a block is a random sample and so is a window.
"""

import mmap
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

# Long enough for a disk to read at its full speed.
BLOCK_BYTES = 2**20
# What is held in the page cache for a training, twice: the window in use and the next.
WINDOW_BYTES = 2**28


@dataclass(frozen=True)
class Images:
    """Some rows of an array. pixels: uint8 (n, size, size, channels), labels (n,), rows (m,)."""

    pixels: np.ndarray
    labels: np.ndarray
    rows: np.ndarray

    def __len__(self) -> int:
        return len(self.rows)

    def row_labels(self) -> np.ndarray:
        return np.asarray(self.labels[self.rows])


def shuffled(
    rows: np.ndarray, *, block: int, window: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """The rows in a new order, and before it was shuffled within windows: both int64 (n,).

    `block` and `window` are in rows; the last block may be shorter.
    """
    starts = rng.permutation(np.arange(0, len(rows), block))
    on_disk = np.concatenate([rows[start : start + block] for start in starts])
    order = on_disk.copy()
    for start in range(0, len(order), window):
        rng.shuffle(order[start : start + window])
    return order, on_disk


# Makes of some images, their rows and the epoch's number what is shown of them.
Change = Callable[[np.ndarray, np.ndarray, int], np.ndarray]


class Batches:
    """The batches of an epoch, each copied from the map when it is its turn.

    `share` is which part of each batch is shown, of how many: what one of several machines gets. A
    last batch with fewer images than machines is left out. `change` is what the images go through.
    """

    def __init__(
        self,
        images: Images,
        batch_size: int,
        *,
        classes: int,
        seed: int,
        class_weights: np.ndarray | None = None,
        share: tuple[int, int] = (0, 1),
        change: Change | None = None,
    ) -> None:
        self._images = images
        self._batch_size = batch_size
        self._one_hot = np.eye(classes, dtype=np.float32)
        self._seed = seed
        self._class_weights = class_weights
        self._share = share
        self._change = change
        self._row_bytes = max(1, images.pixels[:1].nbytes)
        self._block = max(1, BLOCK_BYTES // self._row_bytes)
        self._window = max(self._block, WINDOW_BYTES // self._row_bytes)

    def __len__(self) -> int:
        whole, rest = divmod(len(self._images), self._batch_size)
        return whole + (rest >= self._share[1])

    def epoch(self, number: int) -> Iterator[tuple[np.ndarray, ...]]:
        """Pixels, one-hot labels and, with class weights, those of the images, batch by batch.

        The order depends on the seed and the epoch's number alone. uint8 (batch, size, size,
        channels), float32 (batch, classes), float32 (batch,); the last batch may be smaller.
        """
        order, on_disk = shuffled(
            self._images.rows,
            block=self._block,
            window=self._window,
            rng=np.random.default_rng([self._seed, number]),
        )
        part, parts = self._share
        for first in range(0, len(self) * self._batch_size, self._batch_size):
            self._read_ahead(on_disk, first)
            # Sorted rows read a memory-mapped file in one direction; a batch has no order.
            rows = np.sort(order[first : first + self._batch_size][part::parts])
            labels = self._images.labels[rows]
            pixels = self._images.pixels[rows]
            if self._change is not None:
                pixels = self._change(pixels, rows, number)
            batch = (pixels, self._one_hot[labels])
            weights = self._class_weights
            yield batch if weights is None else (*batch, weights[labels])

    def _read_ahead(self, on_disk: np.ndarray, first: int) -> None:
        """Has the disk read what is a window ahead; what is in memory already costs nothing."""
        pixels = self._images.pixels
        if not isinstance(pixels.base, mmap.mmap) or len(on_disk) <= self._window:
            return
        assert isinstance(pixels, np.memmap)
        ahead = first + self._window
        rows = on_disk[ahead if first else 0 : ahead + self._batch_size]
        # The map begins at a page, the array behind the file's header.
        offset = pixels.offset % mmap.ALLOCATIONGRANULARITY
        gaps = np.diff(rows)
        for near in np.split(rows, np.flatnonzero((gaps < 0) | (gaps > self._block)) + 1):
            if len(near):
                begin = offset + int(near[0]) * self._row_bytes
                begin -= begin % mmap.PAGESIZE
                end = offset + (int(near[-1]) + 1) * self._row_bytes
                pixels.base.madvise(mmap.MADV_WILLNEED, begin, end - begin)
