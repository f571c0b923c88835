"""A server that speaks S3, for tests: moto's, in this process, and what is in its buckets."""

import logging
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from pyarrow import fs

BUCKET = "bucket"
SECRET = "a-secret-that-is-shown-nowhere"


class S3Server:
    """What it holds outlives its being stopped and started again."""

    def __init__(self) -> None:
        logging.getLogger("werkzeug").setLevel(logging.ERROR)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._port = free.getsockname()[1]
        self.start()
        self.files = fs.S3FileSystem(
            endpoint_override=self.endpoint,
            access_key="test",
            secret_key=SECRET,
            allow_bucket_creation=True,
        )
        self.files.create_dir(BUCKET)

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    @property
    def env(self) -> dict[str, str]:
        """What a user has in the environment."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": SECRET,
        }

    def start(self) -> None:
        # Here, since each test module's fixtures import this one.
        from moto.moto_server.threaded_moto_server import ThreadedMotoServer

        self._server = ThreadedMotoServer("127.0.0.1", self._port, verbose=False)
        self._server.start()

    def stop(self) -> None:
        """From now on nobody answers."""
        self._server.stop()

    @contextmanager
    def gone(self) -> Iterator[None]:
        self.stop()
        try:
            yield
        finally:
            self.start()

    def keys(self, below: str = "") -> Sequence[str]:
        """Names of all objects below a prefix, hidden ones too."""
        path = f"{BUCKET}/{below}".rstrip("/")
        selector = fs.FileSelector(path, recursive=True, allow_not_found=True)
        found = (info.path for info in self.files.get_file_info(selector) if info.is_file)
        return sorted(name.removeprefix(f"{BUCKET}/") for name in found)
