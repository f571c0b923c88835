"""The program's errors, and what a failed Spark job failed of."""

import os
import re
from dataclasses import dataclass

from cnn.core.console import plain, redacted


@dataclass(frozen=True)
class Option:
    """A setting by its name in Python, such as test_images or final.workers.

    A job calls it by its flag: `--test-images`, or `flag` where that is another.
    """

    name: str
    flag: str | None = None

    def __str__(self) -> str:
        return self.flag or f"--{self.name.replace('_', '-')}"


class Error(Exception):
    """What a job reports in one line: the run itself failed.

    Args:
        rule: What must be, and what is; with `parts` a template of `str.format`.
        parts: What is filled in: a value, the `Option` that the rule is about, or another error.

    >>> error = Error("{} must be positive, but got {}", Option("image_size"), -1)
    >>> str(error)
    '--image-size must be positive, but got -1'
    >>> error.in_python = True
    >>> str(error)
    'image_size must be positive, but got -1'
    """

    exit_code = 1
    # Whether settings are called as in Python, rather than by a job's flags.
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
        """What IPython shows of it in place of a traceback, which would say no more."""
        return one_line(self)


class InputError(Error):
    """The user gave something that cannot be used; nothing was done."""

    exit_code = 2


def one_line(error: BaseException) -> list[str]:
    """An error as the lines of a notebook: one."""
    return [f"{type(error).__name__}: {plain(redacted(' '.join(str(error).split())))}"]


# What Spark says where a Python worker or its daemon did not start: all that it wrote to stderr.
_FROM_WORKER = re.compile(r"Error from python worker:\n(.*?)\n[ \t]*PYTHONPATH was:", re.DOTALL)


def failure(error: Exception) -> str:
    """What a failed Spark job failed of, in one line: the first error that is not Spark's frame."""
    text = str(error)
    for said in _FROM_WORKER.findall(text):
        last = [line.strip() for line in said.splitlines() if line.strip()][-1:]
        if last:
            # The setting that a user has, or spark.pyspark.python, is there by now.
            return (
                f"{last[0]} (of executors' Python, {os.environ.get('PYSPARK_PYTHON', 'python3')})"
            )
    lines = [line.strip().removeprefix(": ") for line in text.splitlines()]
    named = [line for line in lines if re.search(r"(Error|Exception)\b", line)]
    frame = r"Py4JJavaError|PYTHON_EXCEPTION|Job aborted|occurred while"
    inner = [line for line in named if not re.search(frame, line)]
    # An exception's own line rather than a line of code that names one. What ends a traceback is
    # one by its place: StopIteration and a user's own exceptions have no "Error" in their names.
    raised = re.findall(r"Traceback \(most recent call last\):\n(?:[ \t].*\n)+(\S.*)", text)
    own = [line for line in inner if re.match(r"(Caused by: )?[\w.$]+(Error|Exception)(:|$)", line)]
    causes = [re.sub(r"^(Caused by: )?([a-z]\w*\.)+", "", line) for line in raised or own or inner]
    # A text without an exception's name may be as short as a KeyError's: 'p'.
    kind = type(error).__name__
    bare = [f"{kind}: {line}" for line in lines if line] or [kind]
    return (causes or named or bare)[0]
