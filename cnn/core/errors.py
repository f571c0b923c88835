"""The program's errors, and what a failed Spark job failed of."""

import os
import re

from cnn.core.console import plain, redacted


def one_line(error: BaseException) -> list[str]:
    """An error as the lines of a notebook: one."""
    return [f"{type(error).__name__}: {plain(redacted(' '.join(str(error).split())))}"]


class Error(Exception):
    """What a job reports in one line: the run itself failed."""

    exit_code = 1

    def _render_traceback_(self) -> list[str]:
        """What IPython shows of it in place of a traceback, which would say no more."""
        return one_line(self)


class InputError(Error):
    """The user gave something that cannot be used; nothing was done."""

    exit_code = 2


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
