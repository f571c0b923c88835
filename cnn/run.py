"""A finished run in Python: its result, its trials and its model."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from cnn.core.directory import Directory, reachable
from cnn.core.errors import InputError
from cnn.report.notebook_view import run_html
from cnn.report.page import REPORT
from cnn.rundir.extension import extension_lines
from cnn.rundir.result import RunResult, read_result
from cnn.rundir.suspects import SUSPECTS, read_suspects
from cnn.rundir.trials import read_trials
from cnn.settings.objective import metric_words

if TYPE_CHECKING:
    import pandas as pd

    from cnn.model.classifier import Classifier


@dataclass(frozen=True)
class Run:
    """A finished run: its result, its trials and its model; a notebook can display it.

    >>> finished = Run.load(run)
    >>> low, high = finished.interval
    >>> low <= finished.test_accuracy <= high
    True
    >>> int((finished.trials()["status"] == "ok").sum())
    1

    `run.result` has everything in RUN/result.json by name, such as `run.result.test.confusion`.
    """

    path: str
    result: RunResult = field(repr=False)
    # Whether the run finished now, rather than earlier.
    new: bool = field(default=True, repr=False)

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Loads a run that has finished.

        Args:
            path: The run directory: a path or a URI.

        Raises:
            InputError: There is no finished run, or another version of this program wrote it.
        """
        run = reachable(path)
        return cls(run.uri, read_result(run), new=False)

    @property
    def report(self) -> str:
        """The path or URI of the HTML report."""
        return f"{self.path}/{REPORT}"

    @property
    def test_accuracy(self) -> float:
        """The share of the test images that the trained winner classifies correctly."""
        return self.result.test.accuracy

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % confidence interval of the test accuracy, by Wilson's method: (low, high)."""
        return self.result.test.interval.low, self.result.test.interval.high

    @property
    def params(self) -> dict[str, Any]:
        """The winner's parameters."""
        return self.result.params

    def trials(self) -> "pd.DataFrame":
        """Returns all trials as a table, one row each, indexed by number.

        Returns:
            The columns phase, status, accuracy and loss (on the validation images, of the best
            epoch), objective (there too, if `search.objective` is no accuracy and no loss),
            best_epoch, error and seconds, and each parameter as `params.NAME`.
        """
        import pandas as pd

        columns = (
            *("number", "phase", "status", "accuracy", "loss", "objective"),
            *("best_epoch", "error"),
        )
        rows = [
            {name: getattr(trial, name) for name in columns}
            | {"seconds": (trial.ended - trial.started).total_seconds()}
            | {f"params.{name}": value for name, value in trial.params.items()}
            for trial in read_trials(Directory(self.path))
        ]
        return pd.DataFrame(rows).set_index("number")

    def suspects(self) -> "pd.DataFrame":
        """Returns the images whose label is probably wrong, the surest first.

        Returns:
            The columns of RUN/suspects.csv: path, label, suggested (the class that the image looks
            like), probability and own_probability (of the suggested class and of the label), split.

        Raises:
            InputError: The run has no such file, or it cannot be read.
        """
        try:
            table = read_suspects(Directory(self.path))
        except FileNotFoundError:
            raise InputError(
                f"a run must have a {SUSPECTS}, but {self.path} has none: its labels were not "
                "checked (final.suspects)"
            ) from None
        except ValueError as error:
            raise InputError(
                f"{self.path}/{SUSPECTS} must be a table of suspected labels, but: {error}"
            ) from None
        return table.to_pandas()

    def classifier(self) -> "Classifier":
        """Loads the saved model with its preprocessing; imports Keras."""
        from cnn.model.classifier import Classifier

        return Classifier.load(self.path)

    def summary(self) -> str:
        """The lines that a job prints about the result."""
        low, high = self.interval
        lines = []
        if not any(attempt.accepted for attempt in self.result.final.attempts):
            lines.append("every training of the winner scored far below its trial: see the report")
        labels = self.result.labels
        if labels is not None and labels.suspects:
            images = "1 image" if labels.suspects == 1 else f"{labels.suspects:,} images"
            lines.append(
                f"{images} of {sum(labels.judged.values()):,} may be labelled wrongly: "
                f"{self.path}/{SUSPECTS}"
            )
        lines.append(
            f"test accuracy {self.test_accuracy:.4f} on {self.result.test.count} images "
            f"(95 % confidence interval {low:.4f} to {high:.4f})"
        )
        if self.result.test.objective is not None:
            metric = metric_words(self.result.objective)
            lines.append(f"test {metric} {self.result.test.objective:.4g}")
        lines += extension_lines(self.result)
        if self.result.hint is not None:
            lines.append(f"hint: {self.result.hint}")
        return "\n".join([*lines, f"report: {self.report}"])

    def _repr_html_(self) -> str:
        return run_html(self.path, self.report, self.result, read_trials(Directory(self.path)))
