"""Every random choice follows from a seed and a name, never from a generator that runs on."""

import hashlib


def seeded_hash(seed: int, *parts: object) -> int:
    """128 bits that depend on the seed and the parts alone, on any machine."""
    text = "\0".join(map(str, (seed, *parts))).encode("utf-8", "surrogateescape")
    return int.from_bytes(hashlib.blake2b(text, digest_size=16).digest(), "big")


def derive_seed(seed: int, *parts: object) -> int:
    """A seed below 2**31, for generators that take no more."""
    return seeded_hash(seed, *parts) % 2**31
