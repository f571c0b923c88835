"""Names of files as text that Parquet can hold: what is not UTF-8 is escaped, and back."""

import os
import re
from pathlib import Path

_NO_UTF8 = re.compile("[\udc80-\udcff]")
_ESCAPED = re.compile(rb"%(25|[89A-F][0-9A-F])")


def escape(path: str) -> str:
    """Percent-escapes bytes of a file name that are not UTF-8, because Parquet strings are."""
    if path.isascii() or path.isprintable() or not _NO_UTF8.search(path):
        return path
    # Percent signs too, so that the escapes can be told apart.
    path = path.replace("%", "%25")
    return _NO_UTF8.sub(lambda found: f"%{ord(found[0]) - 0xDC00:02X}", path)


def real_path(root: Path, path: str) -> Path:
    """The file of a listed path, in which bytes that are not UTF-8 were escaped."""
    direct = root / path
    if "%" not in path or direct.exists():
        return direct
    raw = _ESCAPED.sub(lambda found: bytes.fromhex(found[1].decode()), path.encode())
    return root / os.fsdecode(raw)
