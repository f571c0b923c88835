"""Random choices that depend on a seed and a name alone, never on a generator's running state."""

import hashlib


def seeded_hash(seed: int, *parts: object) -> int:
    """128 bits that depend only on the seed and the parts, and are the same on every machine."""
    text = "\0".join(map(str, (seed, *parts))).encode("utf-8", "surrogateescape")
    return int.from_bytes(hashlib.blake2b(text, digest_size=16).digest(), "big")


def derive_seed(seed: int, *parts: object) -> int:
    """A seed below 2**31, for generators that accept no larger one."""
    return seeded_hash(seed, *parts) % 2**31
