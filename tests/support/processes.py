"""Processes by the kernel's tables."""

import itertools
from collections.abc import Iterable, Iterator
from ipaddress import ip_address
from pathlib import Path


def descendants(pid: int) -> Iterable[int]:
    children: dict[int, list[int]] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(path.read_text().rpartition(")")[2].split()[1])
        except (FileNotFoundError, ProcessLookupError):
            continue
        children.setdefault(parent, []).append(int(path.parent.name))
    waiting = [pid]
    while waiting:
        below = list(itertools.chain.from_iterable(children.get(one, []) for one in waiting))
        yield from below
        waiting = below


def listening_addresses(pid: int) -> Iterator[str]:
    """The addresses that a process listens on, from the kernel's tables."""
    links = {str(link.readlink()) for link in Path(f"/proc/{pid}/fd").iterdir()}
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
            _, local, _, state, *_, inode = line.split()[:10]
            if state == "0A" and f"socket:[{inode}]" in links:
                words = bytes.fromhex(local.partition(":")[0])
                # The kernel writes 32-bit words in the machine's byte order.
                packed = b"".join(words[i : i + 4][::-1] for i in range(0, len(words), 4))
                address = ip_address(packed)
                yield str(getattr(address, "ipv4_mapped", None) or address)
