"""What a host keeps for later: whole or absent, within its size, this user's alone."""

import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cnn.core.errors import Error
from cnn.data.host_cache import Cache, Entry, local_dir
from cnn.settings.schema import CacheSettings

MIB = 2**20


def cache(directory: Path, limit: int = 100 * MIB) -> Cache:
    return Cache(CacheSettings(dir=str(directory), limit=limit / 2**30))


def write(size: int) -> Callable[[Path], None]:
    def build(folder: Path) -> None:
        (folder / "content").write_bytes(b"x" * size)

    return build


def is_whole(folder: Path) -> bool:
    return (folder / "content").stat().st_size == MIB


def entry(of: Cache, name: str) -> tuple[Entry, bool]:
    return of.open(name, size=MIB, build=write(MIB), check=is_whole)


def names(of: Cache) -> list[str]:
    return sorted(path.name for path in of.root.iterdir())


def test_an_entry_is_built_once(tmp_path: Path) -> None:
    kept = cache(tmp_path)
    assert [entry(kept, "a")[1] for _ in range(3)] == [True, False, False]
    assert names(kept) == ["a"]


def test_what_does_not_pass_its_check_is_built_anew(tmp_path: Path) -> None:
    kept = cache(tmp_path)
    first, _ = entry(kept, "a")
    (first.folder / "content").write_bytes(b"")
    assert [entry(kept, "a")[1] for _ in range(2)] == [True, False]


def _build_for_ever(directory: str, begun: Any) -> None:
    def build(folder: Path) -> None:
        (folder / "content").write_bytes(b"x")
        begun.set()
        time.sleep(600)

    cache(Path(directory)).open("a", size=MIB, build=build, check=is_whole)


@pytest.mark.parametrize("next_name", ["a", "b"])
def test_a_killed_builder_leaves_nothing_that_lasts(tmp_path: Path, next_name: str) -> None:
    context = multiprocessing.get_context("spawn")
    begun = context.Event()
    builder = context.Process(target=_build_for_ever, args=(str(tmp_path), begun))
    builder.start()
    assert begun.wait(60)
    kept = cache(tmp_path)
    # While it is at work others leave its folder alone.
    entry(kept, "c")
    assert ".build-a" in names(kept)
    assert builder.pid is not None
    os.kill(builder.pid, signal.SIGKILL)
    builder.join()
    assert "a" not in names(kept)
    assert entry(kept, next_name)[1]
    left = [name for name in names(kept) if not name.endswith(".lock")]
    assert left == sorted({next_name, "c"})


def test_the_least_recently_used_goes_where_the_limit_is_reached(tmp_path: Path) -> None:
    kept = cache(tmp_path, limit=3 * MIB + 1000)
    for name in ("a", "b", "c"):
        entry(kept, name)[0].mark.close()
    entry(kept, "a")[0].mark.close()
    entry(kept, "d")
    assert names(kept) == ["a", "c", "d"]


def test_what_is_in_use_stays_beyond_the_limit(tmp_path: Path) -> None:
    kept = cache(tmp_path, limit=2 * MIB)
    used = [entry(kept, name)[0] for name in ("a", "b")]
    entry(kept, "c")[0].mark.close()
    assert names(kept) == ["a", "b", "c"]
    used[0].mark.close()
    entry(kept, "d")
    assert names(kept) == ["b", "d"]


def test_a_disk_that_is_too_small_is_said_before_anything_is_written(tmp_path: Path) -> None:
    kept = cache(tmp_path)
    with pytest.raises(Error, match=r"must have 1,048,576,000 MiB free .* MiB; name another"):
        kept.open("a", size=1_048_576_000 * MIB, build=write(1), check=is_whole)
    assert names(kept) == []


def test_a_disk_that_fills_up_leaves_nothing_half_written(tmp_path: Path) -> None:
    def build(folder: Path) -> None:
        write(MIB)(folder)
        with Path("/dev/full").open("wb") as full:
            full.write(b"x")

    kept = cache(tmp_path)
    with pytest.raises(Error, match="must have 1 MiB"):
        kept.open("a", size=MIB, build=build, check=is_whole)
    assert names(kept) == []


def test_it_is_this_users_alone(tmp_path: Path) -> None:
    root = cache(tmp_path).root
    assert root.stat().st_mode & 0o777 == 0o700
    root.chmod(0o770)
    with pytest.raises(Error, match="that its user alone can write to"):
        cache(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(Error, match=r"can be created, but got .*: Not a directory"):
        cache(tmp_path / "file")
    root.rmdir()
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    root.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(Error, match="that its user alone can write to"):
        cache(tmp_path)


UUID = "01234567-89ab-cdef-0123-456789abcdef"


@pytest.mark.parametrize(
    ("named", "local"),
    [
        (f"/tmp/blockmgr-{UUID}", "/tmp"),
        (f"/scratch/spark-{UUID}/executor-{UUID}/blockmgr-{UUID},/other", "/scratch"),
        # On Kubernetes the volume itself has such a name.
        (f"/var/data/spark-{UUID}/blockmgr-{UUID}", f"/var/data/spark-{UUID}"),
        ("/yarn/appcache/application_1/blockmgr-" + UUID, "/yarn/appcache/application_1"),
    ],
)
def test_it_lies_below_sparks_local_directory(
    monkeypatch: pytest.MonkeyPatch, named: str, local: str
) -> None:
    monkeypatch.setenv("SPARK_LOCAL_DIRS", named)
    assert local_dir() == Path(local)
