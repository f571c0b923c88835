"""The program's errors."""

from cnn.formats import plain, redacted


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
