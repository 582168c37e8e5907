"""The faults that data can have: their names, how bad each is and what to do about it.

One vocabulary for readers, layouts, `mg3d audit` and `mg3d prepare`, so that the same fault has
the same name wherever it shows. A fault concerns one scan, one report or a table of them.
"""

from dataclasses import dataclass
from typing import Literal

Severity = Literal["error", "warning", "note"]
"""error: unusable or misleading, and `prepare` leaves it out or stops, except for what only the
collection as a whole shows; warning: usable, look at it; note: a fact."""
Action = Literal["stop", "set_aside", "keep"]
"""What `prepare` does: nothing is written; all but this scan is; all is, and the fault recorded."""


@dataclass(frozen=True)
class FaultKind:
    """What is common to all faults of one name."""

    severity: Severity
    action: Action
    title: str
    """A few words, as a heading of the audit."""
    remedy: str
    """What to do, one sentence."""


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One fault, found at one place."""

    kind: str
    """A key of `FAULTS`."""
    message: str
    """Value and what is allowed; neither report text nor anything personal."""
    place: str = ""
    """Line or file of a table, relative to the data folder."""
    volume_id: str = ""
    study_id: str = ""
    patient_id: str = ""

    def __post_init__(self) -> None:
        if self.kind not in FAULTS:
            raise ValueError(f"fault {self.kind!r} is not in the table")

    @property
    def severity(self) -> Severity:
        """How bad it is."""
        return FAULTS[self.kind].severity

    @property
    def action(self) -> Action:
        """What `prepare` does about it."""
        return FAULTS[self.kind].action


def _aside(title: str, remedy: str) -> FaultKind:
    return FaultKind("error", "set_aside", title, remedy)


def _stop(title: str, remedy: str) -> FaultKind:
    return FaultKind("error", "stop", title, remedy)


def _warn(title: str, remedy: str) -> FaultKind:
    return FaultKind("warning", "keep", title, remedy)


def _note(title: str, remedy: str = "Nothing, if this is what you expect.") -> FaultKind:
    return FaultKind("note", "keep", title, remedy)


_AGAIN = "Copy or export the file again."
_IN_HU = "Export the series again in Hounsfield units."

_FILES = {
    "missing_file": _aside("File missing", "Correct the path or copy the file."),
    "unreadable": _aside("Not readable", _AGAIN),
    "memory": _aside("Too large for the memory", "Use fewer workers or a larger machine."),
    "worker_killed": _aside("Killed its worker", "Look at the file with another program."),
    "file_format": _aside("Unknown format", "Convert the image, for example to NIfTI."),
    "file_array": _aside("No such array", "Name the array that holds the CT."),
    "file_colour": _aside("Several numbers a voxel", "Give the CT, one number a voxel."),
    "file_slices": _aside("Slices do not form a volume", "Give all slices of one series."),
}
_HU = {
    "hu_not_finite": _aside("NaN or infinite voxels", _IN_HU),
    "hu_constant": _aside("Constant image", _IN_HU),
    "hu_mask": _aside("A segmentation mask", "Give the CT image of the study instead."),
    "hu_8bit": _aside("A windowed 8-bit picture", _IN_HU + " Or state the window of the pictures."),
    "hu_unit_interval": _aside("Scaled to a unit interval", _IN_HU),
    "hu_rescaled_twice": _aside("Looks rescaled twice", "Give the image rescaled once."),
    "hu_never_rescaled": _aside(
        "Looks never rescaled", "Apply slope and intercept, or state them."
    ),
    "hu_shifted": _aside("HU shifted", "Check the intercept of the file."),
    "hu_slope": _aside("HU scaled wrong", "Check the slope of the file."),
    "hu_beyond_16_bit": _aside("Beyond 16 bits", "Check slope and intercept of the file."),
    "hu_rescale": _aside("Rescale unusable", "Correct slope and intercept in header or table."),
    "hu_contradiction": _aside("Rescale ambiguous", "Rescale in the file or in the table."),
    "hu_no_air": _warn("No air", "Check that the scan is not a tight crop."),
    "hu_little_soft_tissue": _warn("Little soft tissue", "Look at the scan."),
    "hu_windowed": _warn("Looks windowed", "Export the series with its full range."),
    "hu_stated_rescale": _note("Rescaled by a table"),
    "hu_window_assumed": _warn("Window of pictures assumed", "State it if you know it."),
    "hu_from_8bit": _note("HU from 8-bit pictures"),
}
_GEOMETRY = {
    "geometry_not_3d": _aside("Not a 3D image", "Give one 3D image a row."),
    "geometry_damaged": _aside("Affine unusable", _AGAIN),
    "geometry_no_orientation": _aside(
        "Left and right unknown", "Export again, or state the affine if you know it."
    ),
    "geometry_no_spacing": _aside("Spacing unknown", "State it in the table."),
    "geometry_zero_spacing": _aside("Spacing zero or not finite", _AGAIN),
    "geometry_spacing_range": _aside("Spacing implausible", "Check the unit of the header."),
    "geometry_not_invertible": _aside("Axes point the same way", _AGAIN),
    "geometry_contradiction": _aside(
        "Header and table disagree", "Find out which is true and correct the other."
    ),
    "geometry_forms_disagree": _warn(
        "sform and qform disagree", "The sform is used; look at the orientation."
    ),
    "geometry_unit": _warn("Not in millimetres", "Check that the converted spacing is true."),
    "geometry_sheared": _warn("Axes not at right angles", "Check whether the gantry was tilted."),
    "geometry_oblique": _note("Oblique", "Nothing: it is resampled along the patient's axes."),
    "geometry_assumed": _warn(
        "Spacing assumed", "State it if you know it, or cut the grid by crop_fraction."
    ),
    "geometry_stated": _note("Geometry from a table"),
}
_SERIES = "Name the folder, or the series_uid, of a CT in HU."
_DICOM = {
    "dicom_no_series": _aside("No CT series", _SERIES),
    "dicom_series_absent": _aside("Series named is not there", "Correct series_uid or the path."),
    "dicom_too_few_slices": _aside("A single slice", "Name the folder of the whole series."),
    "dicom_mixed_slices": _aside("Slices of several stacks", "Split the series."),
    "dicom_no_position": _aside("Slices without position", "Export the series again."),
    "dicom_same_position": _aside("Different slices at one position", "Split the series."),
    "dicom_gap": _aside("Slices missing", "Copy the whole series."),
    "dicom_pixels": _aside("Pixels damaged", _AGAIN),
    "dicom_syntax": _aside("Compression not supported", "Export the series uncompressed."),
    "dicom_quantity": _aside("Another quantity than HU", _SERIES),
    "dicom_quantity_unknown": _warn("Quantity not stated as HU", "Look at the values."),
    "dicom_rescale_missing": _warn("No slope and intercept", "Look at the values."),
    "dicom_derived": _warn("Only derived slices", "Use the original series if there is one."),
    "dicom_gantry_tilt": _warn("Gantry tilted, resampled upright", "Look at the scan."),
    "dicom_shifted_slices": _warn("Slices shifted, resampled upright", "Look at the scan."),
    "dicom_tilt_at_odds": _warn("Tilt contradicts the positions", "Look at the scan from aside."),
    "dicom_missing_slices": _warn("Few slices missing, interpolated", "Copy the whole series."),
    "dicom_uneven_slices": _warn("Slices uneven, interpolated", "Look at the scan."),
    "dicom_several_phases": _warn("Several phases, one taken", "Split the series by phase."),
    "dicom_padding_in_tissue": _warn("Padding value in the range of tissue", "Look at the scan."),
    "dicom_bits": _warn("Values beyond their stated bits", "Look at the values."),
    "dicom_damaged_files": _warn("Damaged files in the folder", _AGAIN),
    "dicom_absent_files": _warn("Files of a DICOMDIR missing", "Copy the whole disc."),
    "dicom_lossy": _warn("Compressed with losses", "Use the original images if there are any."),
    "dicom_other_series": _note("Other CT series beside the one taken"),
    "dicom_left_out": _note("Localizers and other pictures left out"),
    "dicom_duplicate_slices": _note("Slices stored twice"),
    "dicom_padding": _note("Padding set to air"),
    "dicom_thickness": _note("Thickness is not the distance of slices; positions win"),
    "dicom_distance_at_odds": _note("Stated distance is not that of the slices; positions win"),
    "dicom_monochrome1": _note("Shown inverted, values unchanged"),
}
_ANATOMY = {
    "anatomy_not_chest": _warn("No lungs in view", "Leave it out of a study of the chest."),
    "anatomy_upside_down": _warn("Looks upside down", "Compare the affine with the source."),
    "anatomy_front_to_back": _warn("Looks turned back to front", "Compare with the source."),
    "anatomy_left_to_right": _warn("Looks mirrored", "Compare the affine with the source."),
    "anatomy_permuted": _warn("Axes look permuted", "Compare the affine with the source."),
}
_MASK = "Prepare with identifiers masked, or de-identify the reports before."
_REPORTS = {
    "report_missing": _aside("No report", "Add one, or set keep_without_report."),
    "report_findings_missing": _warn(
        "No findings section", "Check the column or heading that holds the findings."
    ),
    "report_impression_missing": _note("No impression section"),
    "report_sections_equal": _warn(
        "Findings and impression are the same text", "Check whether one column was exported twice."
    ),
    "report_section_unknown": _note(
        "Heading of a section that is not known", "Check that no finding stands below it."
    ),
    "report_section_left_out": _note(
        "Technique, history or comparison, which the model never reads"
    ),
    "report_too_short": _warn(
        "Hardly any words", "Check that the text is the report and not a reference to one."
    ),
    "report_too_long": _warn(
        "Longer than what the model reads", "Raise max_tokens; its end is cut off otherwise."
    ),
    "report_truncated": _warn("Ends in the middle", "Export without a limit on the text's length."),
    "report_not_english": _warn(
        "Not English", "Translate it, or train with a text encoder that knows the language."
    ),
    "report_identifiers": _warn("Names, record numbers or contact details", _MASK),
    "report_dates": _note("Dates", _MASK),
    "report_encoding": _warn("Characters damaged", "Export the text as UTF-8."),
    "report_markup": _note("HTML or RTF, which was taken out"),
    "report_duplicate": _warn(
        "Same text for several patients", "Check that each study got its own report."
    ),
    "report_template": _note(
        "One text for many patients", "Nothing; scores of retrieval count equal reports as hits."
    ),
}
_ROWS = "Correct the rows named."
_TABLES = {
    "table_missing": _stop("Table missing", "Correct the path or copy the file."),
    "table_unreadable": _stop("Table not readable", "Save it as UTF-8 text, or export it again."),
    "table_ragged": _stop("Row damaged", "Quote texts that hold the delimiter or line breaks."),
    "table_columns": _stop("Column missing", "Name the columns as the layout expects them."),
    "table_empty": _stop("Table without rows", "Export it again."),
    "table_cell_empty": _stop("Required cell empty", "Fill it in, or drop the row."),
    "table_row_twice": _stop("Two rows for one volume", "Keep one of them."),
    "table_row_orphan": _note("Row about a volume that is not here"),
    "table_fact_missing": _warn(
        "Volume without metadata", "Complete the table; the file alone may lack spacing and HU."
    ),
    "table_fact_malformed": _warn("Metadata not understood", "Correct the cells named."),
    "file_damaged": _warn("Files damaged", _AGAIN),
    "file_unlisted": _warn("Files that no table names", "Add them to the table, or move them."),
    "table_entry_twice": _note("Entry in two lists"),
    "table_count": _warn("Stated number of scans is wrong", "Check whether scans are missing."),
    "table_split_absent": _warn(
        "A split has tables but no scans", "Copy the scans, unless you do without this split."
    ),
    "scan_modality": _stop("Not CT", "Give a CT data set, or name the channel of the CT."),
    "scan_none": _stop("No scans", "Check the path and the layout."),
    "scan_left_out": _note("Scan left out by rule"),
    "id_unsafe": _stop("Name that cannot name a file", "Rename it."),
    "id_twice": _stop("Two volumes of one name", "Rename one of them."),
    "id_study_of_two_patients": _stop("Study of two patients", _ROWS),
    "id_accession_ambiguous": _stop(
        "Accession number of two patients", "File reports by StudyInstanceUID."
    ),
    "id_patient_unknown": _note("Patients not named", "Look at duplicates across splits."),
    "split_unknown": _stop("Split not understood", "Use train, val or test."),
    "split_incomplete": _stop("Split in some rows only", "Fill it in everywhere or nowhere."),
    "split_patient_in_two": _stop("Patient in two splits", "Move all scans of a patient to one."),
    "split_rule": _note("Split made by a rule"),
    "label_value": _stop("Label neither 1, 0 nor empty", _ROWS),
    "label_twice": _stop("Labels given twice", "Keep one row."),
    "label_two_sources": _stop("Labels from two sources", "Drop one."),
    "label_no_match": _stop(
        "Labels of no known study", "Spell ids alike; spreadsheets drop leading zeros."
    ),
    "label_orphan": _warn("Labels without a scan", "Check whether scans are missing."),
    "label_missing": _warn("Scans without labels", "Complete the table; they do not count."),
    "report_no_match": _stop(
        "Reports of no known study", "Spell ids alike; spreadsheets drop leading zeros."
    ),
    "report_orphan": _warn("Reports without a scan", "Check whether scans are missing."),
    "report_contradiction": _stop("Two reports of one study", "Keep one of them."),
    "report_two_forms": _stop("Sections and a whole report", "Give one of them."),
}
_COLLECTION = {  # what only a look at all scans and reports shows: `mg3d audit`, not `mg3d prepare`
    "file_checksum": FaultKind("error", "keep", "Checksum differs", _AGAIN),
    "duplicate_volume": _warn(
        "The same scan twice", "Keep one; check that each study got its own scan and report."
    ),
    "duplicate_volume_near": _warn(
        "Nearly the same scan twice", "Look at both: resampled, flipped or converted copies."
    ),
    "split_leak_volume": FaultKind(
        "error", "keep", "The same scan in two splits", "Correct patient ids or splits, or drop it."
    ),
    "split_leak_report": _note(
        "The same report in two splits", "Nothing for templates; else correct ids or splits."
    ),
    "study_reconstructions": _note("Several volumes a study"),
    "outlier_volume": _note("Unlike the other volumes", "Look at its thumbnail."),
}

FAULTS: dict[str, FaultKind] = (
    _FILES | _HU | _GEOMETRY | _DICOM | _ANATOMY | _REPORTS | _TABLES | _COLLECTION
)
"""Name -> kind. Names are stable: they stand in quarantine files, audits and indices."""
