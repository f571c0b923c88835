"""A finished run as Python has it: its result, its trials, its model."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from cnn.core.directory import Directory, reachable
from cnn.core.documents import Malformed, read_json
from cnn.core.errors import InputError
from cnn.report.notebook_view import run_html
from cnn.report.page import REPORT
from cnn.rundir.record import settings_shown
from cnn.rundir.result import RESULT
from cnn.rundir.settings_file import parse_settings
from cnn.rundir.trials import TrialResult, read_trials
from cnn.settings.validation import shown

if TYPE_CHECKING:
    import pandas as pd

    from cnn.model.classifier import Classifier


@dataclass(frozen=True)
class Run:
    """A finished run: its result, its trials and its model. In a notebook it shows itself.

    >>> finished = Run.load(run)
    >>> low, high = finished.interval
    >>> low <= finished.test_accuracy <= high
    True
    >>> finished.trials()["status"].tolist()
    ['ok']
    """

    path: str
    # What result.json holds.
    result: dict[str, Any] = field(repr=False)
    # Whether it was finished just now, rather than found finished.
    new: bool = field(default=True, repr=False)

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Loads a run that has finished.

        Args:
            path: The run directory: a path or a URI.

        Raises:
            InputError: There is no finished run.
        """
        run = reachable(path)
        try:
            result = read_json(run, RESULT)
        except (FileNotFoundError, NotADirectoryError):
            raise InputError(
                f"a run must be a finished one, but {run.uri} has no {RESULT}"
            ) from None
        except Malformed as error:
            raise InputError(f"{run.uri}/{RESULT} must be JSON, but is not: {error}") from None
        if not isinstance(result, dict):
            raise InputError(f"{run.uri}/{RESULT} must be a table, but got {shown(result)}")
        return cls(run.uri, result, new=False)

    @property
    def report(self) -> str:
        """Where the HTML report is."""
        return f"{self.path}/{REPORT}"

    @property
    def test_accuracy(self) -> float:
        return float(self.result["test"]["accuracy"])

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % confidence interval of the test accuracy, by Wilson's method: (low, high)."""
        interval = self.result["test"]["interval"]
        return float(interval["low"]), float(interval["high"])

    @property
    def params(self) -> dict[str, Any]:
        """The winner's parameters."""
        return self._known(self.result["params"])

    def trials(self) -> "pd.DataFrame":
        """All trials as a table, one row each, indexed by their number.

        Returns:
            The columns phase, status, accuracy and loss (on the validation images, of the best
            epoch), best_epoch, error and seconds, and each parameter as `params.NAME`.
        """
        import pandas as pd

        columns = ("number", "phase", "status", "accuracy", "loss", "best_epoch", "error")
        rows = [
            {name: getattr(trial, name) for name in columns}
            | {"seconds": (trial.ended - trial.started).total_seconds()}
            | {f"params.{name}": value for name, value in trial.params.items()}
            for trial in self._trials()
        ]
        return pd.DataFrame(rows).set_index("number")

    def classifier(self) -> "Classifier":
        """The saved model with its preprocessing; this imports Keras."""
        from cnn.model.classifier import Classifier

        return Classifier.load(self.path)

    def summary(self) -> str:
        """The lines in which a job says how it went."""
        low, high = self.interval
        lines = []
        if not any(attempt["accepted"] for attempt in self.result["final"]["attempts"]):
            lines.append(
                "every training of the winner fell far below its trial: the report says more"
            )
        lines.append(
            f"test accuracy {self.test_accuracy:.4f} on {self.result['test']['count']} images "
            f"(95 % interval {low:.4f} to {high:.4f})"
        )
        return "\n".join([*lines, f"report: {self.report}"])

    def _trials(self) -> list[TrialResult]:
        trials = read_trials(Directory(self.path))
        return [t.model_copy(update={"params": self._known(t.params)}) for t in trials]

    @cached_property
    def _known(self) -> Callable[[dict[str, Any]], dict[str, Any]]:
        return parse_settings(settings_shown(Directory(self.path))).known

    def _repr_html_(self) -> str:
        result = {**self.result, "params": self.params}
        return run_html(self.path, self.report, result, self._trials())
