"""The whole table of planted faults, which three files fill."""

import planted_dicom_faults
import planted_table_faults
from planted_faults import PLANTED_FAULTS

__all__ = ["PLANTED_FAULTS", "planted_dicom_faults", "planted_table_faults"]
