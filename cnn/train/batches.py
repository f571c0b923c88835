"""Batches of memory-mapped training images, in a different order in each epoch.

If every image were drawn at random, a data set larger than memory would be read from all over the
disk. Instead, blocks of neighbouring rows are shuffled, and then the images within a window of
several blocks, so that whole blocks are read, ahead of their use. A set of up to one window is
thus shuffled uniformly. In a larger set, the images of a block stay in one window, which has other
blocks in each epoch. Since a data set's rows were shuffled when it was written, every block, and so
every window, is a random sample.
"""

import mmap
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

# Large enough that a disk reads at full speed.
BLOCK_BYTES = 2**20
# The page cache of a training holds two windows: the one in use and the next.
WINDOW_BYTES = 2**28


@dataclass(frozen=True)
class Images:
    """Some rows of arrays: inputs of a network (n, ...), labels (n,), rows int (m,).

    The inputs are pixels, uint8 (n, size, size, channels), or features (n, features). `weights`,
    float32 (n,), says how much each image counts in training; None if all count the same.
    """

    inputs: np.ndarray
    labels: np.ndarray
    rows: np.ndarray
    weights: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.rows)

    def row_labels(self) -> np.ndarray:
        """The labels of the rows, (m,)."""
        return np.asarray(self.labels[self.rows])

    def relative_weights(self) -> np.ndarray | None:
        """The weights of all images, float32 (n,), scaled so that the mean of the rows is 1.

        None if those of the rows are equal: then they change nothing.
        """
        if self.weights is None:
            return None
        own = self.weights[self.rows].astype(np.float64)
        if own.min() == own.max():
            return None
        return (self.weights / own.mean()).astype(np.float32)


def shuffled(
    rows: np.ndarray, *, block: int, window: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Shuffles rows by blocks, and then within windows.

    Args:
        rows: int64 (n,).
        block: The number of rows in a block; the last block may be shorter.
        window: The number of rows in a window.
        rng: The source of the order.

    Returns:
        The shuffled rows, and the rows with only the blocks shuffled: both int64 (n,).
    """
    starts = rng.permutation(np.arange(0, len(rows), block))
    on_disk = np.concatenate([rows[start : start + block] for start in starts])
    order = on_disk.copy()
    for start in range(0, len(order), window):
        rng.shuffle(order[start : start + window])
    return order, on_disk


# The inputs, the one-hot labels, and the weights of the images if they are not all 1.
Batch = tuple[np.ndarray, ...]
# From (inputs, rows, epoch) to the inputs that the network is trained on.
Change = Callable[[np.ndarray, np.ndarray, int], np.ndarray]


class Batches:
    """The batches of each epoch, copied from the memory map one by one.

    With several machines, `share` is this machine's index and their number: it gets that part of
    each batch. A last batch with fewer images than machines is left out. `change` is applied to the
    images.
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
        self._image_weights = images.relative_weights()
        self._share = share
        self._change = change
        self._row_bytes = max(1, images.inputs[:1].nbytes)
        self._block = max(1, BLOCK_BYTES // self._row_bytes)
        self._window = max(self._block, WINDOW_BYTES // self._row_bytes)

    def __len__(self) -> int:
        whole, rest = divmod(len(self._images), self._batch_size)
        return whole + (rest >= self._share[1])

    def epoch(self, number: int) -> Iterator[Batch]:
        """Yields the batches of epoch `number` (from 1); the last one may be smaller.

        A batch is inputs, (batch, ...), one-hot labels, float32 (batch, classes), and with weights
        of classes or images the product of both for each image, float32 (batch,). The order depends
        only on the seed and the epoch.
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
            # The order within a batch does not matter, and a file is read faster in one direction.
            rows = np.sort(order[first : first + self._batch_size][part::parts])
            labels = self._images.labels[rows]
            inputs = self._images.inputs[rows]
            if self._change is not None:
                inputs = self._change(inputs, rows, number)
            batch = (inputs, self._one_hot[labels])
            yield (*batch, *self._weights(rows, labels))

    def _weights(self, rows: np.ndarray, labels: np.ndarray) -> list[np.ndarray]:
        """The weights of the images in these rows, in a list; an empty list if all are 1."""
        given = []
        if self._class_weights is not None:
            given.append(self._class_weights[labels])
        if self._image_weights is not None:
            given.append(self._image_weights[rows])
        return [np.prod(given, axis=0, dtype=np.float32)] if given else []

    def _read_ahead(self, on_disk: np.ndarray, first: int) -> None:
        """Asks the system to read the rows one window ahead; this is free for rows in memory."""
        inputs = self._images.inputs
        if not isinstance(inputs.base, mmap.mmap) or len(on_disk) <= self._window:
            return
        assert isinstance(inputs, np.memmap)
        ahead = first + self._window
        rows = on_disk[ahead if first else 0 : ahead + self._batch_size]
        # The map begins at a page boundary, but the array begins after the file's header.
        offset = inputs.offset % mmap.ALLOCATIONGRANULARITY
        gaps = np.diff(rows)
        for near in np.split(rows, np.flatnonzero((gaps < 0) | (gaps > self._block)) + 1):
            if len(near):
                begin = offset + int(near[0]) * self._row_bytes
                begin -= begin % mmap.PAGESIZE
                end = offset + (int(near[-1]) + 1) * self._row_bytes
                inputs.base.madvise(mmap.MADV_WILLNEED, begin, end - begin)
