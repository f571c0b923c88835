"""A library for LD_PRELOAD that takes flock away from the files below a directory."""

import shutil
import subprocess
from pathlib import Path

import pytest

_SOURCE = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int flock(int descriptor, int operation) {
    char link[64], path[4096];
    const char *below = getenv("NO_LOCKS_BELOW");
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (below != NULL && length > 0) {
        path[length] = 0;
        if (strncmp(path, below, strlen(below)) == 0) {
            errno = atoi(getenv("NO_LOCKS_ERROR"));
            return -1;
        }
    }
    int (*real)(int, int) = (int (*)(int, int))dlsym(RTLD_NEXT, "flock");
    return real(descriptor, operation);
}
"""


def no_locks(build: Path, below: Path, error: int) -> dict[str, str]:
    """The environment in which files below a directory cannot be locked; skips without a compiler.

    The library is built in the folder `build`; `error` is what flock fails with.
    """
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("needs cc")
    source, library = build / "no_locks.c", build / "no_locks.so"
    source.write_text(_SOURCE)
    command = [compiler, "-shared", "-fPIC", "-o", str(library), str(source), "-ldl"]
    subprocess.run(command, check=True)
    return {
        "LD_PRELOAD": str(library),
        "NO_LOCKS_BELOW": str(below),
        "NO_LOCKS_ERROR": str(error),
    }
