"""Stateless random generators: what is drawn depends on (seed, keys) and on nothing else.

Masks, augmentation, order and the phantom all draw from here, so the number of workers, ranks
or restarts never changes what a study looks like.
"""

import hashlib

import numpy as np


def rng(seed: int, *keys: str | int) -> np.random.Generator:
    """A generator for one purpose, e.g. ``rng(seed, epoch, study_id, "masked_volume")``.

    Args:
        seed: The run's seed.
        keys: What the draw belongs to; order matters, 1 and "1" differ.

    Returns:
        A NumPy generator (PCG64) that starts at the same place for the same arguments on
        every machine.
    """
    text = "\x1f".join([repr(seed), *(repr(key) for key in keys)])
    digest = hashlib.blake2b(text.encode(), digest_size=16).digest()
    return np.random.Generator(np.random.PCG64(int.from_bytes(digest, "little")))
