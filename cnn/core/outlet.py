"""Standard output and error of a job: where nobody reads them any more the job goes on.

Its results are on disk; `| head`, a pager that was left and a closed window must not end it.
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
    """A descriptor that, once its reader is gone, leads nowhere."""

    def __init__(self, descriptor: int, on_unread: Callable[[], None]) -> None:
        super().__init__(descriptor, "wb", closefd=False)
        self._gone = {errno.EPIPE}
        if self.isatty():
            # A terminal that was closed is an input/output error.
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
    """From now on what is printed may find no reader; on stderr one line says so of stdout."""
    # A stream that was closed from the beginning is None.
    if sys.stderr is not None:
        sys.stderr = _through(sys.stderr, lambda: None)
    # A live table shows what is written to sys.stderr on stdout.
    errors = sys.stderr

    def unread() -> None:
        if errors is not None:
            print("nobody reads the output any more; the job goes on", file=errors, flush=True)

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
