"""Whether stored values of DICOM frames become Hounsfield units, judged from their headers."""

from collections.abc import Sequence

from mg3d.data.readers.dicom.frame import Frame
from mg3d.data.scan_error import ScanError

Faults = tuple[tuple[str, str], ...]

_HOUNSFIELD = frozenset({"", "HU", "HOUNSFIELD", "HOUNSFIELD UNIT", "HOUNSFIELD UNITS"})
_OTHER_QUANTITIES = frozenset({
    "ED", "EDW", "HU_MOD", "MGML", "OD", "PCT", "Z_EFF",
})  # fmt: skip
"""Electron density, modified HU, concentration, optical density, percentage, effective atomic
number: PS3.3 C.11.1.1.2 and what dual-energy scanners write."""


def check_rescale(frames: Sequence[Frame]) -> Faults:
    """Stop on frames whose values are no Hounsfield units.

    Args:
        frames: Of one series.

    Returns:
        A warning where the header does not say what the values are.

    Raises:
        ScanError: Another quantity, values that need a table, or no usable slope.
    """
    quantities = {frame.quantity for frame in frames}
    if other := quantities & _OTHER_QUANTITIES:
        raise ScanError(
            f"RescaleType {', '.join(sorted(other))}: values are no Hounsfield units. Name the "
            "series in HU of the same scan.",
            "dicom_quantity",
        )
    if any(frame.has_lut for frame in frames):
        raise ScanError(
            "values become CT numbers through a table (Modality LUT), which CT does not use. "
            "Export the series with slope and intercept.",
            "dicom_quantity",
        )
    absent = sum(frame.slope is None or frame.intercept is None for frame in frames)
    if 0 < absent < len(frames):
        raise ScanError(
            f"slope or intercept is missing in {absent} of {len(frames)} slices. Export the series "
            "again.",
            "hu_rescale",
        )
    if any(frame.slope == 0 for frame in frames):
        raise ScanError("rescale slope 0 makes no values. Export the series again.", "hu_rescale")
    if unknown := quantities - _HOUNSFIELD:
        return (
            (
                "dicom_quantity_unknown",
                f"RescaleType {'US (unspecified)' if 'US' in unknown else 'unknown'} instead of HU",
            ),
        )
    return ()
