"""No secret is kept, said or shown; files have the user's umask; local ports are on loopback."""

import json
import os
import stat
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
from support.jobs import clean_environment
from support.models import save
from support.paths import CONF_DIR, REPOSITORY
from support.processes import descendants, listening_addresses

from cnn.core.directory import Directory
from cnn.core.errors import InputError

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")

SECRETS = {
    "KAGGLE_KEY": "kaggle-one-5d41402a",
    "KAGGLE_API_TOKEN": "kaggle-two-5d41402a",
    "AWS_ACCESS_KEY_ID": "AKIA5D41402A",
    "AWS_SECRET_ACCESS_KEY": "aws-secret-5d41402a",
    "AWS_SESSION_TOKEN": "aws-session-5d41402a",
    "MLFLOW_TRACKING_PASSWORD": "mlflow-password-5d41402a",
    "MLFLOW_TRACKING_TOKEN": "mlflow-token-5d41402a",
}
CONF = {
    "spark.hadoop.fs.s3a.access.key": "AKIACONF5D41402A",
    "spark.hadoop.fs.s3a.secret.key": "s3a-secret-5d41402a",
    "spark.hadoop.fs.s3a.encryption.key": "s3a-encryption-5d41402a",
    "spark.hadoop.fs.azure.account.key.x.net": "azure-5d41402a",
    **{f"spark.executorEnv.{name}": value for name, value in SECRETS.items()},
}
URI_PASSWORD = "uri-password-5d41402a"


def asked_of_the_ui(log: Path, process: "subprocess.Popen[bytes]") -> str:
    """Spark's environment page and its API's, once it says where its UI is."""
    while process.poll() is None:
        for port in range(4040, 4060):
            root = f"http://127.0.0.1:{port}"
            try:
                with urllib.request.urlopen(f"{root}/api/v1/applications", timeout=2) as reply:
                    [application] = json.load(reply)
                if application["name"] != log.stem:
                    continue
                address = f"{root}/api/v1/applications/{application['id']}/environment"
                pages = [address, f"{root}/environment/"]
                return "".join(
                    urllib.request.urlopen(page, timeout=10).read().decode() for page in pages
                )
            except (OSError, ValueError):
                continue
        time.sleep(0.2)
    raise AssertionError(log.read_text())


@pytest.fixture(scope="module")
def told(noise_data: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """All that a search writes, says and shows where secrets are set in every way, by name."""
    root = tmp_path_factory.mktemp("told")
    (root / "events").mkdir()
    log = root / f"application-{os.getpid()}.log"
    conf = CONF | {
        "spark.eventLog.enabled": "true",
        "spark.eventLog.dir": (root / "events").as_uri(),
        "spark.eventLog.compress": "false",
        "spark.app.name": log.stem,
    }
    options = [word for key, value in conf.items() for word in ("--conf", f"{key}={value}")]
    uri = f"http://user:{URI_PASSWORD}@127.0.0.1:9"
    job = ("jobs/tune.py", "--data", str(noise_data), "--out", str(root / "run"), "--mlflow", uri)
    with log.open("wb") as sink:
        process = subprocess.Popen(
            [
                *(str(REPOSITORY / "spark-submit.sh"), "--master", "local[2]", *options, *job),
                *("--config", str(CONF_DIR / "test.toml")),
            ],
            cwd=REPOSITORY,
            env=clean_environment() | SECRETS,
            stdout=sink,
            stderr=sink,
        )
        shown = asked_of_the_ui(log, process)
        assert process.wait(timeout=500) == 0, log.read_text()
    written = {
        str(path): path.read_bytes().decode(errors="replace")
        for path in root.rglob("*")
        if path.is_file()
    }
    return {**written, "Spark's UI": shown}


def test_no_secret_is_kept_said_or_shown(told: dict[str, str]) -> None:
    secrets = {*SECRETS.values(), *CONF.values(), URI_PASSWORD}
    leaks = [(place, s) for place, text in told.items() for s in secrets if s in text]
    assert leaks == []
    assert "spark.executorEnv.KAGGLE_KEY" in told["Spark's UI"]
    assert any("events" in place and "KAGGLE_KEY" in text for place, text in told.items())
    assert any(place.endswith("settings.toml") for place in told)


def test_a_password_in_a_uri_is_refused() -> None:
    with pytest.raises(InputError, match=r"hold no credentials.*\.\.\.@bucket/x") as raised:
        Directory("s3a://AKIA:secret-1@bucket/x")
    assert "secret-1" not in str(raised.value)
    assert Directory("abfss://container@account.dfs.core.windows.net/x")


# Modes of files.


@pytest.mark.slow
@pytest.mark.parametrize("mask", [0o077, 0o022])
def test_files_have_the_users_umask(noise_data: Path, tmp_path: Path, mask: int) -> None:
    run, images = tmp_path / "run", noise_data.parent / "images"
    jobs: list[tuple[str | Path, ...]]
    if mask == 0o077:
        # These Spark writes itself.
        (tmp_path / "model").mkdir()
        save(tmp_path / "model")
        out = ("--out", tmp_path / "predictions", "--csv")
        jobs = [("jobs/predict.py", "--model", tmp_path / "model", "--images", images, *out)]
    else:
        flags = ("--data", noise_data, "--out", run, "--config", CONF_DIR / "test.toml")
        jobs = [("jobs/preprocess.py", "--images", images, "--out", tmp_path / "data")]
        jobs.append(("jobs/tune.py", *flags))
    for job in jobs:
        done = subprocess.run(
            [str(REPOSITORY / "spark-submit.sh"), *map(str, job)],
            cwd=REPOSITORY,
            env=clean_environment(),
            umask=mask,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
    made = [
        path for name in ("data", "run", "predictions") for path in (tmp_path / name).rglob("*")
    ]
    wrong = {
        str(path): oct(path.stat().st_mode)
        for path in made
        if stat.S_IMODE(path.stat().st_mode) != ((0o777 if path.is_dir() else 0o666) & ~mask)
    }
    assert len(made) > 5
    assert wrong == {}


# Ports.


def watched(process: "subprocess.Popen[str]") -> dict[str, str]:
    """The addresses that a process and all below it listen on until it ends, and who did."""
    seen: dict[str, str] = {}
    while process.poll() is None:
        for pid in (process.pid, *descendants(process.pid)):
            try:
                command = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
                seen |= dict.fromkeys(listening_addresses(pid), command)
            except OSError:
                continue
        time.sleep(0.2)
    return seen


LAUNCHERS = {
    "./spark-submit.sh": (["./spark-submit.sh", "--master", "MASTER"], {}),
    "spark-submit": (["spark-submit", "--master", "MASTER"], {}),
    "python": (["python"], {"PYSPARK_SUBMIT_ARGS": "--master MASTER pyspark-shell"}),
}


# local-cluster, which is for trying things, takes the address of its Master and the Workers' pages
# from the environment alone, which only our launcher sets in time.
@pytest.mark.slow
@pytest.mark.parametrize(
    ("launcher", "master"),
    [*((name, "local[2]") for name in LAUNCHERS), ("./spark-submit.sh", "local-cluster[2,1,1024]")],
)
def test_every_port_is_on_loopback(
    noise_data: Path, tmp_path: Path, launcher: str, master: str
) -> None:
    words, environment = LAUNCHERS[launcher]
    job = ("jobs/tune.py", "--data", str(noise_data), "--out", str(tmp_path / "run"))
    log = tmp_path / "log"
    with log.open("w") as sink:
        process = subprocess.Popen(
            [word.replace("MASTER", master) for word in words]
            + [*job, "--config", "conf/test.toml", "--max-trials", "1"],
            cwd=REPOSITORY,
            env=clean_environment()
            | {key: value.replace("MASTER", master) for key, value in environment.items()},
            stdout=sink,
            stderr=sink,
            text=True,
        )
        seen = watched(process)
    assert process.returncode == 0, log.read_text()
    # Java listens through IPv6 too.
    assert {"127.0.0.1"} <= seen.keys() <= {"127.0.0.1", "::1"}, seen
