"""Canonical correlation: the linear maps under which two views of the same studies agree most.

Contrastive training from random weights first shrinks all embeddings to one point, because with few
studies a batch the noise between random features weighs more than what they share; it leaves that
point after hours. The best linear alignment of the two sides is known in closed form, so training
starts from it.
Axes: K studies, N and M features of the two views, R canonical pairs.

Source: H. Hotelling, Relations between two sets of variates, Biometrika 28 (1936); the ridge is
standard.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from mg3d.errors import DataError


@dataclass(frozen=True)
class LinearMap:
    """``x -> weight @ x + bias``."""

    weight: Tensor
    """(R, N) float64."""
    bias: Tensor
    """(R,) float64; the samples' mean is mapped to 0."""


@dataclass(frozen=True)
class CanonicalPairs:
    """Two linear maps, and how well their outputs agree on the samples."""

    left: LinearMap
    right: LinearMap
    correlations: Tensor
    """(R,) float64 in [0, 1], decreasing: of output r of both maps, lowered by the ridges."""


@torch.no_grad()
def canonical_pairs(
    left_KN: Tensor,
    right_KM: Tensor,
    *,
    num_components: int,
    left_ridge: float,
    right_ridge: float,
) -> CanonicalPairs:
    """Ridge-regularised canonical correlation analysis.

    Args:
        left_KN: One view of K >= 2 studies, (K, N).
        right_KM: The other view of the same studies, (K, M).
        num_components: Principal components kept of each view beforehand, which bounds how well
            noise can be fitted.
        left_ridge: Added to the variances of the left components, as a share of their mean, >= 0.
        right_ridge: The same on the right.

    Returns:
        R = min(K - 1, N, M, num_components) pairs of unit variance on the samples (ridge aside).

    Raises:
        DataError: If there are fewer than 2 studies.
    """
    if len(left_KN) < 2:
        raise DataError(
            f"aligning volumes with reports got {len(left_KN)} studies with a report and needs 2 "
            "or more, best several hundred; add some, or start the plain space at random."
        )
    left, left_map, left_mean = _whitened(left_KN.double(), num_components, left_ridge)
    right, right_map, right_mean = _whitened(right_KM.double(), num_components, right_ridge)
    u, correlations, vh = torch.linalg.svd(left.T @ right / len(left), full_matrices=False)
    return CanonicalPairs(
        left=_composed(u.T @ left_map, left_mean),
        right=_composed(vh @ right_map, right_mean),
        correlations=correlations,
    )


def _whitened(
    samples_KN: Tensor, num_components: int, ridge: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Whitened components (K, P), the map (P, N) that makes them, and the mean (N,)."""
    mean_N = samples_KN.mean(dim=0)
    _, spread, directions = torch.linalg.svd(samples_KN - mean_N, full_matrices=False)
    kept = min(num_components, len(samples_KN) - 1, len(spread))
    variances_P = spread[:kept].square() / len(samples_KN)
    floor = variances_P.mean() * max(ridge, torch.finfo(torch.float32).eps)
    map_PN = directions[:kept] / (variances_P + floor).sqrt()[:, None]
    return (samples_KN - mean_N) @ map_PN.T, map_PN, mean_N


def _composed(weight_RN: Tensor, mean_N: Tensor) -> LinearMap:
    return LinearMap(weight=weight_RN, bias=-weight_RN @ mean_N)
