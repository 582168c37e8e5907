"""What the audit knows of one volume once it has looked at it: numbers, hashes and faults.

Facts, not voxels: a few kilobytes that stay in memory for a whole collection and lie in a cache
between runs. Nothing in them comes from a header except geometry.
"""

import base64
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from mg3d.audit.fingerprint import Fingerprint, fingerprint
from mg3d.audit.histogram import HuHistogram
from mg3d.data.volume import Volume

HU_EDGES: npt.NDArray[np.int64] = np.arange(-1200, 1601, 50)
"""Bins of the histograms that the page draws."""
_AIR_HU = (-1150, -850)
_SOFT_HU = (-20, 120)
_PEAK_WIDTH_HU = 9
_LEAST_SHARE = 0.002
"""Of the voxels: below this a peak of air or of soft tissue is noise."""


@dataclass(frozen=True, kw_only=True)
class Geometry:
    """Where the voxels lie, from the affine alone."""

    shape: tuple[int, int, int]
    """Voxels along the axes as stored."""
    spacing_mm: tuple[float, float, float]
    """Along the axes as stored."""
    ras_shape: tuple[int, int, int]
    """Voxels from left to right, back to front, feet to head."""
    ras_spacing_mm: tuple[float, float, float]
    extent_mm: tuple[float, float, float]
    """Field of view from left to right, back to front, feet to head."""
    orientation: str
    """Directions in which the stored axes grow, e.g. LPS."""
    oblique_degrees: float
    """Largest angle between an axis and the nearest axis of the patient."""

    @classmethod
    def of(cls, volume: Volume) -> Self:
        """The geometry of a volume."""
        ras = volume.reorient_ras()
        x, y, z = (size * mm for size, mm in zip(ras.shape, ras.spacing_mm, strict=True))
        return cls(
            shape=volume.shape,
            spacing_mm=_rounded(volume.spacing_mm),
            ras_shape=ras.shape,
            ras_spacing_mm=_rounded(ras.spacing_mm),
            extent_mm=_rounded((x, y, z)),
            orientation=volume.axes,
            oblique_degrees=round(volume.tilt_degrees, 2),
        )


@dataclass(frozen=True, kw_only=True)
class HuFacts:
    """What the voxels are, in HU."""

    minimum: int
    p01: int
    median: int
    p99: int
    maximum: int
    mean: float
    deviation: float
    air_share: float
    """Share of voxels below -700 HU."""
    soft_share: float
    """Share of voxels in [-200, 250] HU."""
    bone_share: float
    """Share of voxels above 250 HU."""
    air_peak: int | None
    """Where air gathers, about -1000; None without air."""
    soft_peak: int | None
    """Where soft tissue gathers, about 0 to 80; None without it."""
    shares: tuple[float, ...]
    """Of voxels in the bins of `HU_EDGES`."""

    @classmethod
    def of(cls, histogram: HuHistogram) -> Self:
        """The facts of one histogram."""
        low, high = -32768, 32767
        return cls(
            minimum=histogram.percentile(0.0),
            p01=histogram.percentile(0.01),
            median=histogram.percentile(0.5),
            p99=histogram.percentile(0.99),
            maximum=histogram.percentile(1.0),
            mean=round(histogram.mean, 2),
            deviation=round(histogram.deviation, 2),
            air_share=round(histogram.share(low, -701), 5),
            soft_share=round(histogram.share(-200, 250), 5),
            bone_share=round(histogram.share(251, high), 5),
            air_peak=histogram.peak(*_AIR_HU, width=_PEAK_WIDTH_HU, least=_LEAST_SHARE),
            soft_peak=histogram.peak(*_SOFT_HU, width=_PEAK_WIDTH_HU, least=_LEAST_SHARE),
            shares=tuple(histogram.binned(HU_EDGES)),
        )


@dataclass(frozen=True, kw_only=True)
class VolumeFacts:
    """One volume, looked at."""

    num_files: int = 0
    num_bytes: int = 0
    sha256: str = ""
    """Of the files' content; "" where they could not be read."""
    faults: tuple[tuple[str, str], ...] = ()
    """(kind, message): what this scan alone shows."""
    geometry: Geometry | None = None
    """None where the scan is not readable or its geometry is unusable."""
    hu: HuFacts | None = None
    voxels: str = ""
    """`HuHistogram.digest`: equal for the same voxels under another header."""
    fingerprint: Fingerprint | None = field(default=None, repr=False, compare=False)
    lung_litres: float | None = None
    """Air in lungs; None where a crop cuts them or the scan is not usable."""

    def to_json(self) -> dict[str, Any]:
        """As the cache keeps it."""
        document = {f.name: getattr(self, f.name) for f in fields(self)}
        document["geometry"] = None if self.geometry is None else asdict(self.geometry)
        document["hu"] = None if self.hu is None else asdict(self.hu)
        if self.fingerprint is not None:
            document["fingerprint"] = base64.b64encode(self.fingerprint.tobytes()).decode()
        return document

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        """Back from the cache.

        Raises:
            KeyError, TypeError, ValueError: If it is not what `to_json` wrote.
        """
        values = {f.name: document[f.name] for f in fields(cls)}
        if values["geometry"] is not None:
            values["geometry"] = Geometry(**_tuples(values["geometry"]))
        if values["hu"] is not None:
            values["hu"] = HuFacts(**_tuples(values["hu"]))
        if values["fingerprint"] is not None:
            values["fingerprint"] = np.frombuffer(
                base64.b64decode(values["fingerprint"]), dtype=np.float16
            )
        values["faults"] = tuple((str(kind), str(text)) for kind, text in values["faults"])
        return cls(**values)


def content_facts(volume: Volume) -> dict[str, Any]:
    """What only the voxels show, as fields of `VolumeFacts`; they must be finite."""
    histogram = HuHistogram.of(volume.array)
    return {
        "geometry": Geometry.of(volume),
        "hu": HuFacts.of(histogram),
        "voxels": histogram.digest,
        "fingerprint": fingerprint(volume),
    }


def _rounded(values: tuple[float, float, float]) -> tuple[float, float, float]:
    x, y, z = (round(value, 4) for value in values)
    assert all(math.isfinite(value) for value in (x, y, z))
    return x, y, z


def _tuples(document: Mapping[str, Any]) -> dict[str, Any]:
    return {key: tuple(v) if isinstance(v, list) else v for key, v in document.items()}
