"""What a person sees while the winner is trained once more, and tested."""

import time
from collections.abc import Callable, Collection, Mapping, Sequence

from rich.console import Console, Group, RenderableType
from rich.text import Text

from cnn.core.clock import about, duration
from cnn.core.console import plain
from cnn.core.display import Display, Say, silent
from cnn.core.html import block, text
from cnn.rundir.heartbeat import Reached
from cnn.rundir.result import WinnerOutcome
from cnn.search.forecast import Span, around_the_test
from cnn.search.remaining import Pace

# In a log: so often, and where a training is long only with each tenth of it, or each minute.
_OFTEN, _SELDOM = 10.0, 60.0


class WinnerProgress:
    """Follows the winner's training: its epochs, the time left, and that it is being tested."""

    def __init__(
        self,
        title: str,
        number: int,
        *,
        images: int,
        tested: int,
        expected: Span,
        read: Callable[[Collection[int]], Mapping[int, Reached]],
        attempts: int = 1,
    ) -> None:
        """`images` are those of an epoch, `tested` those of the test, and `expected` the seconds
        that all of it takes by what is known of the winner's trial.
        """
        self._title = title
        self._number = number
        self._images = images
        self._tested = tested
        self._expected = expected
        self._read = read
        self._attempts = attempts
        self._began = time.monotonic()
        self._pace = Pace()
        self._reached: Reached | None = None
        self._told_tenth = 0
        self._ended = self._accuracy = ""
        self._say: Say = silent

    def run(self, work: Callable[[], WinnerOutcome], display: Display) -> WinnerOutcome:
        """Does the work, and shows how far it is."""
        with display.show(self) as self._say:
            self._say(self.opening)
            outcome = work()
            self._ended = _ended(outcome, time.monotonic() - self._began)
            self._accuracy = f"test accuracy {outcome.test.accuracy:.4f}"
            self._say(lambda: self._ended)
        return outcome

    def opening(self) -> str:
        """What begins, and how long it takes by what is known."""
        return f"{self._title}, {about(*self._expected)}"

    @property
    def quiet_seconds(self) -> float:
        """After how long a log gets another line."""
        return _OFTEN if self._tenth() > self._told_tenth else _SELDOM

    def refresh(self) -> None:
        """Reads how far it is."""
        found = self._read([self._number]).get(self._number)
        if found is None:
            return
        before, self._reached = self._reached, found
        if not found.testing:
            self._pace.see(found.epoch, found.max_epochs, time.monotonic())
        elif before is None or not before.testing:
            self._say(self._stage)

    def line(self) -> str:
        """How far it is, for a log."""
        self._told_tenth = self._tenth()
        return f"the winner: {self._standing()}"

    def screen(self, console: Console) -> RenderableType:
        """For a terminal: what begins, and how far it is."""
        return Group(*(Text(plain(line)) for line in self._lines()))

    def html(self) -> str:
        """For a notebook."""
        # The page has no lines of the job's that say it.
        accuracy = [f"<b>{text(self._accuracy)}</b>"] if self._accuracy else []
        return block(*map(text, self._lines()), *accuracy)

    def _lines(self) -> Sequence[str]:
        return [self._title, self._ended or self._standing()]

    def _tenth(self) -> int:
        return int(10 * (self._pace.share or 0.0))

    def _standing(self) -> str:
        left = self._left()
        return self._stage() if left is None else f"{self._stage()}, {about(*left)} left"

    def _stage(self) -> str:
        found = self._reached
        if found is None:
            return "starting"
        if found.testing:
            return f"testing the winner on {found.testing:,} images"
        said = [f"epoch {found.epochs()}"]
        if found.attempt > 1:
            said.insert(0, f"training {found.attempt} of at most {self._attempts}")
        if found.train_accuracy is not None:
            said.append(f"training accuracy {found.train_accuracy:.4f}")
        if found.accuracy is not None:
            said.append(f"best validation accuracy {found.accuracy:.4f}")
        return ", ".join(said)

    def _left(self) -> Span | None:
        """None where it takes longer than anything that is known says."""
        now = time.monotonic()
        rest, each = self._pace.rest(now), self._pace.seconds_an_epoch
        if rest is not None and each is not None:
            low, high = around_the_test(self._tested, each / self._images)
            testing = self._reached is not None and self._reached.testing
            return (low, high) if testing else (rest + low, rest + high)
        low, high = (seconds - (now - self._began) for seconds in self._expected)
        return (max(1.0, low), high) if high > 0 else None


def _ended(outcome: WinnerOutcome, seconds: float) -> str:
    count = len(outcome.final.epochs)
    return (
        f"trained for {count} epoch{'s' if count != 1 else ''} and tested on "
        f"{outcome.test.count:,} images in {duration(seconds)}"
    )
