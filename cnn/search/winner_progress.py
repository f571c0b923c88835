"""What a user sees while the winner is trained once more and tested."""

import time
from collections.abc import Callable, Collection, Mapping, Sequence

from rich.console import Console, Group, RenderableType
from rich.text import Text

from cnn.core.clock import about, duration
from cnn.core.console import plain
from cnn.core.display import Display, Say, silent
from cnn.core.html import block, text
from cnn.rundir.heartbeat import TrialProgress
from cnn.rundir.result import WinnerOutcome
from cnn.search.forecast import Span, saving_and_test
from cnn.search.pace import Pace

# Seconds between a log's lines: after another tenth of the training, and otherwise.
_SHORT_PAUSE, _LONG_PAUSE = 10.0, 60.0


class WinnerProgress:
    """Shows how far the winner's training and test are, and the time left."""

    def __init__(
        self,
        title: str,
        number: int,
        *,
        images: int,
        tested: int,
        expected: Span,
        read: Callable[[Collection[int]], Mapping[int, TrialProgress]],
        attempts: int = 1,
        metric: str = "objective",
    ) -> None:
        """Prepares the display of the winner's training.

        Args:
            title: What is being done.
            number: The winner's trial number.
            images: The number of images in an epoch.
            tested: The number of test images.
            expected: The seconds that all of it takes, estimated from the winner's trial.
            read: Returns the progress of the trainings with the given numbers.
            attempts: The largest number of trainings.
            metric: What an objective is called that is no accuracy and no loss.
        """
        self._title = title
        self._number = number
        self._images = images
        self._tested = tested
        self._expected = expected
        self._read = read
        self._attempts = attempts
        self._metric = metric
        self._began = time.monotonic()
        self._pace = Pace()
        self._reached: TrialProgress | None = None
        self._logged_tenth = 0
        self._ended = self._accuracy = ""
        self._say: Say = silent

    def run(self, work: Callable[[], WinnerOutcome], display: Display) -> WinnerOutcome:
        """Runs `work` and shows its progress."""
        with display.show(self) as self._say:
            self._say(self.opening)
            outcome = work()
            self._ended = _ended(outcome, time.monotonic() - self._began)
            self._accuracy = f"test accuracy {outcome.test.accuracy:.4f}"
            self._say(lambda: self._ended)
        return outcome

    def opening(self) -> str:
        """What begins, and how long it is expected to take."""
        return f"{self._title}, {about(*self._expected)}"

    @property
    def quiet_seconds(self) -> float:
        """The seconds after which a log gets another line."""
        return _SHORT_PAUSE if self._tenth() > self._logged_tenth else _LONG_PAUSE

    def refresh(self) -> None:
        """Reads the progress."""
        found = self._read([self._number]).get(self._number)
        if found is None:
            return
        before, self._reached = self._reached, found
        if not found.testing:
            self._pace.see(found.epoch, found.max_epochs, time.monotonic())
        elif before is None or not before.testing:
            self._say(self._stage)

    def line(self) -> str:
        """The progress in one line, for a log."""
        self._logged_tenth = self._tenth()
        return f"the winner: {self._status()}"

    def screen(self, console: Console) -> RenderableType:
        """The progress for a terminal."""
        return Group(*(Text(plain(line)) for line in self._lines()))

    def html(self) -> str:
        """The progress for a notebook."""
        # A notebook does not show the job's line with the accuracy.
        accuracy = [f"<b>{text(self._accuracy)}</b>"] if self._accuracy else []
        return block(*map(text, self._lines()), *accuracy)

    def _lines(self) -> Sequence[str]:
        return [self._title, self._ended or self._status()]

    def _tenth(self) -> int:
        return int(10 * (self._pace.share or 0.0))

    def _status(self) -> str:
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
        if found.objective is not None:
            said.append(f"validation {self._metric} {found.objective:.4g}")
        return ", ".join(said)

    def _left(self) -> Span | None:
        """The seconds left; None once it takes longer than expected and the pace is unknown."""
        now = time.monotonic()
        rest, each = self._pace.rest(now), self._pace.seconds_an_epoch
        if rest is not None and each is not None:
            low, high = saving_and_test(self._tested, each / self._images)
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
