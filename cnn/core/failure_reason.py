"""What a failed process or Spark job failed of, in one line."""

import os
import re

# What Spark reports if a Python worker or its daemon did not start: all that it wrote to stderr.
_FROM_WORKER = re.compile(r"Error from python worker:\n(.*?)\n[ \t]*PYTHONPATH was:", re.DOTALL)


def last_line(text: str) -> str:
    """The last line of a traceback or of a process's output: what went wrong.

    >>> last_line("Traceback (most recent call last):\\n  ...\\nValueError: no\\n")
    'ValueError: no'
    """
    return text.strip().splitlines()[-1]


def failure(error: Exception) -> str:
    """The cause of a failed Spark job, in one line: the first error that is not Spark's wrapper.

    >>> failure(ConnectionRefusedError(111, "Connection refused"))
    "Spark's JVM no longer answers (ConnectionRefusedError)"
    """
    kind = type(error).__name__
    if isinstance(error, ConnectionError) or kind == "Py4JNetworkError":
        return f"Spark's JVM no longer answers ({kind})"
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
    bare = [f"{kind}: {line}" for line in lines if line] or [kind]
    return (causes or named or bare)[0]
