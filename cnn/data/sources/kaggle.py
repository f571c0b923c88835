"""Downloads Kaggle data sets with Kaggle's own client, verifies and unpacks them. No Spark."""

import contextlib
import errno
import io
import re
import shutil
import stat
import zipfile
from pathlib import Path, PurePosixPath
from typing import Any

from cnn.core.directory import Directory
from cnn.core.documents import Malformed, read_model
from cnn.core.errors import Error, InputError, Option
from cnn.core.lock import file_lock
from cnn.data.manifest import Source

KAGGLE = Option("kaggle")
_NAME = re.compile(r"[A-Za-z0-9][\w-]*/[A-Za-z0-9][\w-]*")
# The most bytes an archive may unpack to, whatever its headers say.
MAX_UNPACKED = 500 << 30
_CHUNK = 1 << 20
_CREDENTIALS = (
    "Kaggle's credentials must be where its own tools keep them "
    "(KAGGLE_USERNAME and KAGGLE_KEY, KAGGLE_API_TOKEN, or ~/.kaggle)"
)


def fetch_kaggle(dataset: str, downloads: Path) -> tuple[Path, Source]:
    """Downloads and unpacks a data set, unless that is done; returns its folder and its source.

    The folder under `downloads` is complete or absent. An interrupted download is resumed if the
    server supports it, and never mistaken for a complete one. Raises InputError or Error for
    missing or refused credentials, an unknown data set, a full disk, or an archive that is damaged
    or would write outside its folder.
    """
    if not _NAME.fullmatch(dataset):
        raise InputError("{} must be an owner and a name, owner/name, but got {}", KAGGLE, dataset)
    folder, home = downloads / dataset.replace("/", "--"), Directory(downloads)
    card = f"{folder.name}.json"
    with file_lock(folder.with_name(f".{folder.name}.lock")):
        source = _known_source(home, card)
        if folder.is_dir() and source is not None:
            return folder, source
        with _clear_errors(dataset, downloads):
            downloads.mkdir(parents=True, exist_ok=True)
            client = _client()
            source = _describe(client, dataset)
            archive = _download(client, dataset, folder.with_name(f"{folder.name}.zip"))
            unpack(archive, folder)
            home.write(card, source.model_dump_json(indent=1).encode())
            archive.unlink()
    return folder, source


def _known_source(downloads: Directory, card: str) -> Source | None:
    """The source written by an earlier download, which writes it last."""
    try:
        return read_model(Source, downloads, card)
    except (FileNotFoundError, Malformed):
        return None


def _client() -> Any:
    """Kaggle's client, logged in with the credentials that Kaggle's own tools would use."""
    with contextlib.redirect_stdout(io.StringIO()):
        # Importing it logs in, and prints a long text if credentials are missing.
        from kaggle.api.kaggle_api_extended import KaggleApi
        from kagglesdk import KaggleClient

        api = KaggleApi()
        try:
            api.authenticate()
        except SystemExit:
            raise InputError(f"{_CREDENTIALS}, but none were found") from None
    values = api.config_values
    return KaggleClient(
        username=values.get(api.CONFIG_NAME_USER),
        password=values.get(api.CONFIG_NAME_KEY),
        api_token=values.get(api.CONFIG_NAME_TOKEN),
    )


def _describe(client: Any, dataset: str) -> Source:
    from kagglesdk.datasets.types.dataset_api_service import ApiGetDatasetMetadataRequest

    request = ApiGetDatasetMetadataRequest()
    request.owner_slug, request.dataset_slug = dataset.split("/")
    response = client.datasets.dataset_api_client.get_dataset_metadata(request)
    info = response.info
    if response.error_message or info is None:
        raise _not_there(dataset)
    licences = ", ".join(licence.name for licence in info.licenses or () if licence.name)
    return Source(
        name=info.title or dataset,
        licence=licences or None,
        attribution=f"{info.owner_user or dataset.partition('/')[0]} on Kaggle",
        url=f"https://www.kaggle.com/datasets/{dataset}",
    )


def _download(client: Any, dataset: str, archive: Path) -> Path:
    """Downloads to `archive`, which exists only once complete; shows a progress bar on stderr."""
    from kaggle.api.kaggle_api_extended import KaggleApi
    from kagglesdk.datasets.types.dataset_api_service import ApiDownloadDatasetRequest

    if archive.is_file():
        return archive
    request = ApiDownloadDatasetRequest()
    request.owner_slug, request.dataset_slug = dataset.split("/")
    response = client.datasets.dataset_api_client.download_dataset(request)
    partial = archive.with_name(f"{archive.name}.partial")
    done = partial.stat().st_size if partial.is_file() else 0
    _check_space(archive.parent, int(response.headers.get("Content-Length") or 0) - done)
    # The client prints signed URLs, which must not be shown.
    with contextlib.redirect_stdout(io.StringIO()):
        KaggleApi().download_file(
            response,
            str(partial),
            client.http_client(),
            quiet=False,
            resume=True,
            # At most one chunk is lost if the connection breaks.
            chunk_size=1 << 16,
        )
    return partial.rename(archive)


def unpack(archive: Path, folder: Path) -> None:
    """Unpacks a zip archive to a new folder, which is complete or absent.

    Raises Error if the archive is damaged, unpacks to more than MAX_UNPACKED bytes or more than
    the disk can hold, or contains links, encrypted files or paths outside the folder. It leaves
    nothing behind then, and removes a damaged archive so that the next attempt downloads it again.
    """
    staging = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir()
    try:
        with zipfile.ZipFile(archive) as opened:
            members = [member for member in opened.infolist() if not member.is_dir()]
            for member in members:
                _check_member(archive, member)
            _check_space(folder.parent, sum(member.file_size for member in members))
            left = MAX_UNPACKED
            for member in members:
                left = _extract(opened, member, staging, left)
        shutil.rmtree(folder, ignore_errors=True)
        staging.rename(folder)
    except Error:
        raise
    except Exception as error:
        # A damaged file can cause almost any error in zipfile.
        if isinstance(error, OSError) and error.errno not in {None, errno.EINVAL}:
            raise
        archive.unlink()
        raise Error(
            f"{archive.name} is damaged ({error}) and was removed; "
            "run the same command to download it again"
        ) from None
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _check_member(archive: Path, member: zipfile.ZipInfo) -> None:
    path = PurePosixPath(member.filename.replace("\\", "/"))
    mode = member.external_attr >> 16
    if path.is_absolute() or ".." in path.parts or ":" in "".join(path.parts[:1]):
        reason = "is outside its folder"
    elif not path.parts or "\0" in str(path) or any(len(p.encode()) > 255 for p in path.parts):
        reason = "has an invalid file name"
    elif mode and not (stat.S_ISREG(mode) or stat.S_IFMT(mode) == 0):
        reason = "is a link or another special file"
    elif member.flag_bits & 1:
        reason = "is encrypted"
    else:
        return
    raise Error(f"an archive must hold plain files, but {member.filename!r} in {archive} {reason}")


def _extract(opened: zipfile.ZipFile, member: zipfile.ZipInfo, staging: Path, left: int) -> int:
    """Extracts one file, verifying its checksum; returns how many bytes may still be unpacked."""
    target = staging / member.filename.replace("\\", "/")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(b"")
    except (FileExistsError, NotADirectoryError, IsADirectoryError):
        raise Error(
            f"an archive must hold plain files, but {member.filename!r} is also a folder"
        ) from None
    with opened.open(member) as packed, target.open("wb") as file:
        while chunk := packed.read(_CHUNK):
            left -= len(chunk)
            if left < 0:
                raise Error(f"an archive must unpack to at most {MAX_UNPACKED >> 30} GiB")
            file.write(chunk)
    return left


def _check_space(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise _full_disk(
            folder, f"{needed / 1e9:.1f} GB are needed, but {free / 1e9:.1f} GB are free"
        )


def _full_disk(folder: Path, detail: str) -> Error:
    return Error(
        f"the disk of {folder} is too full: {detail}; name another place with --download-dir"
    )


@contextlib.contextmanager
def _clear_errors(dataset: str, downloads: Path) -> Any:
    """Converts errors of the download to one line without a URL, because the URLs are signed."""
    import requests
    import urllib3

    try:
        yield
    except requests.HTTPError as error:
        status = error.response.status_code if error.response is not None else 0
        if status == 401:
            raise InputError(f"{_CREDENTIALS}, but Kaggle refused them") from None
        if status == 403:
            raise InputError(
                f"{_CREDENTIALS} and must permit {dataset}, but Kaggle refused it (HTTP 403)"
            ) from None
        if status == 404:
            raise _not_there(dataset) from None
        raise Error(f"Kaggle answered with HTTP {status} for {dataset}; try again later") from None
    except (requests.RequestException, urllib3.exceptions.HTTPError, ValueError) as error:
        raise Error(
            f"Kaggle could not be reached, or the connection broke ({type(error).__name__}); "
            "run the same command to resume the download"
        ) from None
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise _full_disk(downloads, "no space is left") from None
        raise Error(
            "{} must be writable, but got {}", Option("download_dir"), error.strerror
        ) from None


def _not_there(dataset: str) -> InputError:
    return InputError("{} must be a data set on Kaggle, but {} was not found", KAGGLE, dataset)
