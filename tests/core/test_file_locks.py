"""File systems without file locks: a lease takes their place, and a cache there is refused."""

import errno
import subprocess
import sys
from pathlib import Path

import pytest
from support.jobs import clean_environment, one_line, python
from support.no_locks import no_locks

from cnn.spark.machine import has_locks


@pytest.mark.skipif(sys.platform != "linux", reason="LD_PRELOAD and /proc")
def test_a_file_system_without_locks_is_known(tmp_path: Path) -> None:
    environment = no_locks(tmp_path, tmp_path / "there", errno.ENOLCK)
    (tmp_path / "there").mkdir()
    assert has_locks(tmp_path) is True
    assert has_locks(tmp_path / "nowhere") is None
    code = (
        "from pathlib import Path\nfrom cnn.spark.machine import has_locks\n"
        f"place = Path({str(tmp_path)!r})\nprint(has_locks(place), has_locks(place / 'there'))"
    )
    done = python(code, environment)
    assert done.stdout == "True False\n", done.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="LD_PRELOAD and /proc")
@pytest.mark.parametrize("error", [errno.ENOLCK, errno.EOPNOTSUPP])
def test_without_file_locks_there_is_a_lease(tmp_path: Path, error: int) -> None:
    environment = no_locks(tmp_path, tmp_path / "there", error)
    code = (
        "import os\nfrom cnn.core.lock import held\nfrom cnn.core.directory import Directory\n"
        "from cnn.core.errors import InputError\n"
        f"run = Directory({str(tmp_path / 'there' / 'run')!r})\n"
        "with held(run, InputError('taken')):\n    print(os.listdir(run.local_path.parent))"
    )
    done = python(code, environment)
    said, listed = done.stdout.splitlines()
    assert "has no file locks (flock): a lease is used instead" in said
    assert listed == "['.run.lease']"
    assert list((tmp_path / "there").iterdir()) == []


# It is renewed every 20 s; whoever comes waits to see it change.
@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="LD_PRELOAD and /proc")
def test_without_file_locks_a_lease_keeps_a_second_writer_out(tmp_path: Path) -> None:
    environment = no_locks(tmp_path, tmp_path / "there", errno.ENOSYS)
    code = (
        "import sys\nfrom cnn.core.lock import held\nfrom cnn.core.directory import Directory\n"
        "from cnn.core.errors import InputError\n"
        f"with held(Directory({str(tmp_path / 'there' / 'run')!r}), InputError('taken')):\n"
        "    print('held', flush=True)\n    sys.stdin.read()"
    )
    first = subprocess.Popen(
        [sys.executable, "-c", code],
        env=clean_environment() | environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert first.stdout is not None
    said = first.stdout.readline()
    assert "has no file locks (flock): a lease is used instead" in said
    assert first.stdout.readline() == "held\n"
    second = python(code, environment)
    assert "InputError: taken" in second.stderr.splitlines()[-1]
    first.communicate("", timeout=30)
    assert first.returncode == 0
    assert list((tmp_path / "there").iterdir()) == []


@pytest.mark.skipif(sys.platform != "linux", reason="LD_PRELOAD and /proc")
def test_a_cache_without_file_locks_is_refused_by_name(tmp_path: Path) -> None:
    environment = no_locks(tmp_path, tmp_path / "cache", errno.ENOSYS)
    code = (
        "from cnn.data.host_cache import Cache\nfrom cnn.core.cli import run_job\n"
        "from cnn.settings.schema import CacheSettings\n"
        f"cache = Cache(CacheSettings(dir={str(tmp_path / 'cache')!r}))\n"
        "build = dict(size=1, build=lambda folder: None, check=lambda folder: True)\n"
        "run_job(lambda _: cache.open('entry', **build))"
    )
    done = python(code, environment)
    assert done.returncode == 1
    line = one_line(done.stderr)
    assert str(tmp_path / "cache") in line
    assert line.endswith("has none; name another place with --cache-dir")
