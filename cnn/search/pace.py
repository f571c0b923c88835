"""The speed of a training, measured while it runs."""

# The pace is known once it has been measured for this long.
_LEAST_SECONDS = 3.0


class Pace:
    """How fast a training goes, from its progress at several times."""

    def __init__(self) -> None:
        self._first: tuple[float, float] | None = None
        self._last: tuple[float, float] | None = None
        self._epochs = 0

    def see(self, epoch: float, epochs: int, at: float) -> None:
        """Takes in that `epoch` of `epochs` epochs were done at time `at`, in seconds.

        If `epoch` has become smaller, another attempt has begun and the measurement starts anew.
        """
        if self._last is not None and epoch < self._last[0]:
            self._first = self._last = None
        self._epochs = epochs
        # The first step does not count because the framework compiles in it.
        if epoch <= 0 or (self._last is not None and epoch == self._last[0]):
            return
        self._last = (epoch, at)
        self._first = self._first or self._last

    @property
    def share(self) -> float | None:
        """The part of the epochs that is done, from 0 to 1; None before the first step."""
        return self._last[0] / self._epochs if self._last and self._epochs else None

    @property
    def seconds_an_epoch(self) -> float | None:
        """None until it has been measured for long enough."""
        if self._first is None or self._last is None:
            return None
        epochs, seconds = self._last[0] - self._first[0], self._last[1] - self._first[1]
        return seconds / epochs if seconds >= _LEAST_SECONDS else None

    def rest(self, now: float) -> float | None:
        """The seconds that the remaining epochs take; None if the pace is unknown."""
        each = self.seconds_an_epoch
        if each is None or self._last is None:
            return None
        epoch, at = self._last
        return max(0.0, (self._epochs - epoch) * each - (now - at))
