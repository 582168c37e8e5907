"""Volume-to-volume retrieval: do the nearest volumes show the same findings?

Pure functions of image embeddings and labels; no report is read anywhere, so nothing can leak from
it into an image-image score. N units, Q queries, K cut-offs.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from mg3d.evaluation.bootstrap import Array, Flags, Resampling, Rows
from mg3d.evaluation.embedded import EmbeddedVolumes
from mg3d.evaluation.protocol import Protocol
from mg3d.evaluation.retrieval import beside_chance
from mg3d.randomness import rng

CUTOFFS = (1, 5, 10, 50)


@dataclass(frozen=True, kw_only=True)
class LabelOverlap:
    """How alike the findings of each two units are, over the findings known in both."""

    jaccard: Array
    """(N, N) findings in common / findings in either; 1 for two units without any."""
    relevant: Flags
    """(N, N) at least one finding in common, or none in both."""

    @classmethod
    def of(cls, labels: Array) -> Self:
        """The overlap of labels (N, F): 1, 0 or NaN for unknown."""
        known = (~np.isnan(labels)).astype(np.float64)
        present = np.nan_to_num(labels)
        both = present @ present.T
        either = present @ known.T + known @ present.T - both
        jaccard = np.divide(both, either, out=np.zeros_like(both), where=either > 0)
        neither = (either == 0) & (known @ known.T > 0)
        return cls(jaccard=np.where(neither, 1.0, jaccard), relevant=(both > 0) | neither)

    def at(self, found: Rows, owner: Rows, cutoffs: Sequence[int], *, itself: bool) -> Array:
        """Quality of the first k answers of each query.

        Args:
            found: (Q, >= max k) answers, best first.
            owner: (Q,) the unit whose labels each query has.
            cutoffs: The k's, length K.
            itself: Whether the query's own unit is in its gallery.

        Returns:
            (2, Q, K): mean Jaccard@k; and average precision@k, which divides by min(k, relevant
            units in the gallery) and is 0 where nothing is relevant.
        """
        depth, kept = np.arange(1, found.shape[1] + 1), np.asarray(cutoffs)
        overlap = np.cumsum(self.jaccard[owner[:, None], found], axis=1)
        right = self.relevant[owner[:, None], found]
        precision = np.cumsum(np.cumsum(right, axis=1) / depth * right, axis=1)
        available = self.relevant.sum(1) - (0 if itself else self.relevant.diagonal())
        reachable = np.minimum(kept, available[owner][:, None]).clip(1)
        return np.stack([overlap[:, kept - 1] / kept, precision[:, kept - 1] / reachable])


def nearest(similarity: Array, names: Sequence[str], count: int, *, itself: bool) -> Rows:
    """The ``count`` most similar units of each unit, best first: (N, count).

    Ties are ordered by a hash of the entry's name: the same for any order of the rows and
    unrelated to what the entries show.
    """
    digests = [hashlib.blake2b(name.encode(), digest_size=8).digest() for name in names]
    tie_order = np.array(sorted(range(len(names)), key=lambda row: digests[row]))
    ranked = similarity.copy()
    if not itself:
        np.fill_diagonal(ranked, -np.inf)
    order = np.argsort(-ranked[:, tie_order], axis=1, kind="stable")[:, :count]
    return np.asarray(tie_order[order], dtype=np.intp)


def permuted_overlap(
    overlap: LabelOverlap,
    found: Rows,
    cutoffs: Sequence[int],
    resampling: Resampling,
    *,
    itself: bool,
) -> Array:
    """The same scores after dealing the labels to the units at random: (2, permutations, K)."""
    generator = rng(resampling.seed, "volume_to_volume_chance")
    scores = []
    for _ in range(resampling.permutations):
        dealt = generator.permutation(len(found))
        scores.append(overlap.at(dealt[found], dealt, cutoffs, itself=itself).mean(1))
    return np.stack(scores, axis=1)


def retrieve_alike(
    units: EmbeddedVolumes, protocol: Protocol, resampling: Resampling
) -> dict[str, Any] | None:
    """Jaccard@k and MAP@k of the nearest volumes, beside chance.

    Args:
        units: The split in the unit of ``protocol``; units without labels are left out.
        protocol: The rules; decides whether a query may find itself.
        resampling: Patient resamples (of the queries) and shuffles.

    Returns:
        A JSON document, or None when fewer than two units have labels.
    """
    labelled = ~np.isnan(units.labels).all(1)
    if protocol.abnormal_only:
        labelled &= np.nan_to_num(units.labels).any(1)
    units = units.take(np.flatnonzero(labelled))
    itself = protocol.query_in_gallery
    gallery = len(units) if itself else len(units) - 1
    if len(units) < 2:
        return None
    cutoffs = [k for k in CUTOFFS if k < gallery] or [1]
    found = nearest(units.image @ units.image.T, units.volume_ids, cutoffs[-1], itself=itself)
    overlap = LabelOverlap.of(units.labels)
    values = overlap.at(found, np.arange(len(units)), cutoffs, itself=itself)
    chance = permuted_overlap(overlap, found, cutoffs, resampling, itself=itself)
    jaccard, precision = (
        beside_chance(*pair, cutoffs, units.patient_ids, protocol, resampling)
        for pair in zip(values, chance, strict=True)
    )
    return {
        "protocol": protocol.name,
        "direction": "volume_to_volume",
        "num_queries": len(units),
        "gallery_size": gallery,
        "jaccard": jaccard,
        "map": precision,
    }
