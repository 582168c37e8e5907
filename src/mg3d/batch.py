"""StudyBatch: the one object that data, objectives and training share.

One row is one volume with the report of its study. Axes: B batch, X Y Z voxels in RAS+ order,
L report tokens, F findings. A plain dataclass: Fabric refuses to move frozen ones.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any, Self

import torch
from torch import Tensor

from mg3d.hu_window import WIDTH_HU, WINDOW_HU

_CACHED_VOXELS = 1 << 18
"""Scaled at a time on a CPU, so that they stay in the cache on the way: 0.71 ms for 1.6 million,
0.98 with a quarter of it at a time, 1.07 with all of them (Zen 5, one core)."""


@dataclass(kw_only=True)
class StudyBatch:
    """A batch of volumes and reports; every tensor has B rows."""

    image: Tensor
    """(B, 1, X, Y, Z) float in [0, 1]: HU clipped to `WINDOW_HU` and scaled. On its way from the
    store to the device int16 HU; `to` scales."""
    token_ids: Tensor
    """(B, L) int64."""
    token_mask: Tensor
    """(B, L) bool: False on padding."""
    clause_ids: Tensor
    """(B, L) int64: 0 special token or padding, k = k-th clause (1..S without gaps)."""
    word_ids: Tensor
    """(B, L) int64: 0 special token or padding, k = k-th whole word of the report."""
    volume_ids: tuple[str, ...]
    study_ids: tuple[str, ...]
    patient_ids: tuple[str, ...]
    report_ids: tuple[str, ...]
    """Hash of the normalised report; "" for a study without a report."""
    labels: Tensor | None = None
    """(B, F) float, NaN = unknown."""

    def __post_init__(self) -> None:
        self._identities: Tensor | None = None

    def __len__(self) -> int:
        return len(self.volume_ids)

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> Self:
        """The same batch with its tensors on ``device``, and HU scaled to [0, 1] there."""
        self.identities()  # sent along: later, sending would wait for what the device is at
        sent = self._each(lambda tensor: tensor.to(device, non_blocking=non_blocking))
        if sent.image.dtype == torch.int16:
            sent.image = _scale_hu(sent.image)
        return sent

    def pin_memory(self) -> Self:
        """The same batch in page-locked memory (a reader calls it)."""
        return self._each(Tensor.pin_memory)

    def _each(self, change: Callable[[Tensor], Tensor]) -> Self:
        """The same batch with every tensor changed."""
        tensors: dict[str, Any] = {
            field.name: change(value)
            for field in fields(self)
            if isinstance(value := getattr(self, field.name), Tensor)
        }
        changed = replace(self, **tensors)
        changed._identities = None if self._identities is None else change(self._identities)
        return changed

    def identities(self) -> Tensor:
        """Who a row belongs to, as numbers that ranks can gather.

        Returns:
            (B, 3) int64 hashes of study, patient and report. A row without a report gets its
            volume's hash as its report, so that it equals nobody else's. Every objective asks, so
            they are hashed once.
        """
        if self._identities is None:
            self._identities = self._hashed_identities()
        return self._identities

    def _hashed_identities(self) -> Tensor:
        rows = [
            [
                _hash("study", study),
                _hash("patient", patient),
                _hash("report", report) if report else _hash("volume", volume),
            ]
            for volume, study, patient, report in zip(
                self.volume_ids, self.study_ids, self.patient_ids, self.report_ids, strict=True
            )
        ]
        return torch.tensor(rows, dtype=torch.int64, device=self.image.device).reshape(-1, 3)


def _scale_hu(hu: Tensor) -> Tensor:
    """What `mg3d.data.hounsfield.scale_hu` gives, bit by bit, from int16."""
    low, high = WINDOW_HU
    scaled = torch.empty(hu.shape, device=hu.device)
    # a tensor: CUDA would multiply with the reciprocal of a number, which rounds differently
    width = torch.full((), float(WIDTH_HU), device=hu.device)
    size = _CACHED_VOXELS if hu.device.type == "cpu" else hu.numel()
    parts = (torch.split(tensor.flatten(), max(1, size)) for tensor in (hu, scaled))
    for part_hu, part in zip(*parts, strict=True):
        torch.div(part_hu.clamp(low, high).sub_(low), width, out=part)
    return scaled


def _hash(kind: str, name: str) -> int:
    digest = hashlib.blake2b(f"{kind}\x1f{name}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little", signed=True)
