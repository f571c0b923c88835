"""The process from which Spark's Python workers are forked."""

import os
import select
import socket
import struct
import subprocess
import sys

import pytest
from support.jobs import clean_environment


@pytest.mark.skipif(sys.platform != "linux", reason="pidfd_open")
def test_a_worker_whose_jvm_is_gone_ends_without_a_traceback() -> None:
    daemon = subprocess.Popen(
        [sys.executable, "-m", "cnn.daemon"],
        env=clean_environment() | {"PYTHON_WORKER_FACTORY_SECRET": "secret"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert daemon.stdout is not None
    (port,) = struct.unpack("!i", daemon.stdout.read(4))
    with socket.create_connection(("127.0.0.1", port)) as jvm:
        (worker,) = struct.unpack("!i", jvm.recv(4))
        # The worker waits for the secret. Closed like this, the connection is reset.
        jvm.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    with os.fdopen(os.pidfd_open(worker)) as end:
        assert select.select([end], [], [], 30)[0]
    # At the end of its input the daemon ends.
    _, stderr = daemon.communicate(timeout=30)
    assert stderr == b""
