"""The program's errors, and the cause of a failed Spark job."""

import os
import re
from dataclasses import dataclass

from cnn.core.console import plain, redacted


@dataclass(frozen=True)
class Option:
    """A setting by its name in Python, such as test_images or final.workers.

    The message of a job shows its flag: `--test-images`, or `flag` if that is given.
    """

    name: str
    flag: str | None = None

    def __str__(self) -> str:
        return self.flag or f"--{self.name.replace('_', '-')}"


class Error(Exception):
    """The run itself failed; a job reports this in one line.

    Args:
        rule: What must be, then what was got. If there are `parts`, a template for `str.format`.
        parts: What the template is filled with: values, an `Option`, or another error.

    >>> error = Error("{} must be positive, but got {}", Option("image_size"), -1)
    >>> str(error)
    '--image-size must be positive, but got -1'
    >>> error.in_python = True
    >>> str(error)
    'image_size must be positive, but got -1'
    """

    exit_code = 1
    # Whether the message shows settings by their names in Python, not by a job's flags.
    in_python = False

    def __init__(self, rule: str, *parts: object) -> None:
        super().__init__(rule, *parts)
        self._rule, self._parts = rule, parts

    def __str__(self) -> str:
        return self._text(self.in_python)

    def _text(self, in_python: bool) -> str:
        def shown(part: object) -> object:
            if isinstance(part, Option) and in_python:
                return part.name
            return part._text(in_python) if isinstance(part, Error) else part

        return self._rule.format(*map(shown, self._parts)) if self._parts else self._rule

    def _render_traceback_(self) -> list[str]:
        """What IPython shows in place of a traceback, which would explain nothing more."""
        return one_line(self)


class InputError(Error):
    """The user's input cannot be used; nothing was done."""

    exit_code = 2


def one_line(error: BaseException) -> list[str]:
    """An error as a notebook shows it: a list of one line."""
    return [f"{type(error).__name__}: {plain(redacted(' '.join(str(error).split())))}"]


# What Spark reports if a Python worker or its daemon did not start: all that it wrote to stderr.
_FROM_WORKER = re.compile(r"Error from python worker:\n(.*?)\n[ \t]*PYTHONPATH was:", re.DOTALL)


def failure(error: Exception) -> str:
    """The cause of a failed Spark job, in one line: the first error that is not Spark's wrapper."""
    text = str(error)
    for said in _FROM_WORKER.findall(text):
        last = [line.strip() for line in said.splitlines() if line.strip()][-1:]
        if last:
            # By now this variable has the user's value, or that of spark.pyspark.python.
            python = os.environ.get("PYSPARK_PYTHON", "python3")
            return f"{last[0]} (from the executors' Python, {python})"
    lines = [line.strip().removeprefix(": ") for line in text.splitlines()]
    named = [line for line in lines if re.search(r"(Error|Exception)\b", line)]
    frame = r"Py4JJavaError|PYTHON_EXCEPTION|Job aborted|occurred while"
    inner = [line for line in named if not re.search(frame, line)]
    # The line of an exception is better than a line of code that mentions one. The line that ends
    # a traceback is always one: StopIteration and users' exceptions have no "Error" in their names.
    raised = re.findall(r"Traceback \(most recent call last\):\n(?:[ \t].*\n)+(\S.*)", text)
    own = [line for line in inner if re.match(r"(Caused by: )?[\w.$]+(Error|Exception)(:|$)", line)]
    causes = [re.sub(r"^(Caused by: )?([a-z]\w*\.)+", "", line) for line in raised or own or inner]
    # Without the name of its class an exception's text may be as short as a KeyError's: 'p'.
    kind = type(error).__name__
    bare = [f"{kind}: {line}" for line in lines if line] or [kind]
    return (causes or named or bare)[0]
