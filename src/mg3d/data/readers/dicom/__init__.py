"""DICOM: files of a folder, series, slices, pixels, and structured reports."""
