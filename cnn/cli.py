"""What the jobs share on the command line: one clear line for what is wrong, and exit codes."""

import argparse
import signal
import sys
from collections.abc import Callable, Sequence
from typing import NoReturn

from cnn.settings import Error


class Parser(argparse.ArgumentParser):
    """An argument parser whose complaint is one line, exit code 2."""

    def error(self, message: str) -> NoReturn:
        raise SystemExit(_complain(message, code=2))


def run_job(main: Callable[[Sequence[str]], None]) -> NoReturn:
    """Runs a job's main function on the command line and exits: 0, 1 (it failed) or 2 (input).

    Interrupted, the exit code is 130; what is on disk stays.
    """
    # spark-submit ends a job by SIGTERM: unwind as for Ctrl-C, so that nothing is left half-done.
    signal.signal(signal.SIGTERM, lambda signum, frame: sys.exit(143))
    try:
        main(sys.argv[1:])
    except Error as error:
        sys.exit(_complain(str(error), code=error.exit_code))
    except OSError as error:
        # A disk that is full, a folder that is not ours: nothing that a traceback explains better.
        sys.exit(_complain(f"{error.strerror or error}: {error.filename or 'unknown'}", code=1))
    except KeyboardInterrupt:
        sys.exit(_complain("interrupted; what was finished is on disk", code=130))
    sys.exit(0)


def _complain(message: str, *, code: int) -> int:
    print(f"error: {' '.join(message.split())}", file=sys.stderr, flush=True)
    return code
