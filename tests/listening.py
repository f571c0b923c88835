"""What processes listen on, from the kernel's tables."""

import subprocess
import time
from collections.abc import Iterable, Iterator
from ipaddress import ip_address
from pathlib import Path


def listening_addresses(pid: int) -> Iterator[tuple[str, int]]:
    """The addresses and ports that a process listens on."""
    links = {str(link.readlink()) for link in Path(f"/proc/{pid}/fd").iterdir()}
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
            _, local, _, state, *_, inode = line.split()[:10]
            if state == "0A" and f"socket:[{inode}]" in links:
                host, _, port = local.partition(":")
                words = bytes.fromhex(host)
                # The kernel writes 32-bit words in the machine's byte order.
                packed = b"".join(words[i : i + 4][::-1] for i in range(0, len(words), 4))
                address = ip_address(packed)
                yield str(getattr(address, "ipv4_mapped", None) or address), int(port, 16)


def descendants(pid: int) -> Iterable[int]:
    """All processes that a process has started, and those that they have."""
    children: dict[int, list[int]] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(path.read_text().rpartition(")")[2].split()[1])
        except (FileNotFoundError, ProcessLookupError):
            continue
        children.setdefault(parent, []).append(int(path.parent.name))
    waiting = [pid]
    while waiting:
        waiting = [child for one in waiting for child in children.get(one, [])]
        yield from waiting


def watched(process: "subprocess.Popen[str]") -> dict[tuple[str, int], str]:
    """What a process and all below it listen on until it ends, and which command that was."""
    seen: dict[tuple[str, int], str] = {}
    while process.poll() is None:
        for pid in (process.pid, *descendants(process.pid)):
            try:
                command = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
                seen |= dict.fromkeys(listening_addresses(pid), command[:200])
            except OSError:
                continue
        time.sleep(0.05)
    return seen
