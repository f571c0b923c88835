"""A job's standard output and error: the job continues if their reader goes away.

Its results are on disk; `| head`, a closed pager and a closed window must not end it.
"""

import errno
import io
import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer


class _Outlet(io.FileIO):
    """A file descriptor that discards what is written once its reader is gone."""

    def __init__(self, descriptor: int, on_unread: Callable[[], None]) -> None:
        super().__init__(descriptor, "wb", closefd=False)
        self._gone = {errno.EPIPE}
        if self.isatty():
            # Writing to a closed terminal is an input/output error.
            self._gone.add(errno.EIO)
        self._on_unread = on_unread

    def write(self, data: "ReadableBuffer", /) -> int:
        try:
            return super().write(data)
        except OSError as error:
            if error.errno not in self._gone:
                raise
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self.fileno())
        os.close(nowhere)
        self._on_unread()
        return memoryview(data).nbytes


def outlive_readers() -> None:
    """Lets this process outlive the readers of its output; a line on stderr tells of stdout's."""
    # A stream that was closed when the process started is None.
    if sys.stderr is not None:
        sys.stderr = _through(sys.stderr, lambda: None)
    # A live table redirects sys.stderr to stdout: keep the real one.
    errors = sys.stderr

    def unread() -> None:
        if errors is not None:
            print("the output has no reader any more; the job continues", file=errors, flush=True)

    if sys.stdout is not None:
        sys.stdout = _through(sys.stdout, unread)


def _through(stream: TextIO, on_unread: Callable[[], None]) -> TextIO:
    stream.flush()
    return io.TextIOWrapper(
        io.BufferedWriter(_Outlet(stream.fileno(), on_unread)),
        encoding=stream.encoding,
        errors=stream.errors,
        line_buffering=stream.isatty() or stream is sys.stderr,
    )
