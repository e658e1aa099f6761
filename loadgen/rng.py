"""One seed, a generator per purpose: adding a draw for one purpose never changes the draws of another."""

import hashlib

import numpy as np


def generator(seed: int, purpose: str) -> np.random.Generator:
    """A generator that depends on (seed, purpose) only, e.g. `generator(0, "schedule.spacing")`."""
    digest = hashlib.blake2b(f"{seed}:{purpose}".encode(), digest_size=16).digest()
    return np.random.Generator(np.random.PCG64(int.from_bytes(digest, "little")))
