"""A hospital's hand-over: DICOM series, and a table of reports by accession number."""

from functools import partial
from pathlib import Path

from mg3d.data.layouts.catalogue import Catalogue
from mg3d.phantom.export.dicom_series import DicomSyntax, SeriesIdentity, write_dicom_series
from mg3d.phantom.export.exporter import Exporter, label_cells, volumes, write_csv


def _write(catalogue: Catalogue, out: Path, *, syntax: DicomSyntax) -> dict[str, str]:
    """Series in folders; the volume ids are the SeriesInstanceUIDs that pseudonyms stand for."""
    uids: dict[str, str] = {}
    counts: dict[str, int] = {}
    accessions: dict[str, str] = {}
    for row, volume in volumes(catalogue.rows):
        counts[row.study_id] = number = counts.get(row.study_id, 0) + 1
        accession = accessions.setdefault(row.study_id, f"ACC{len(accessions) + 1:06d}")
        identity = SeriesIdentity(
            patient_id=row.patient_id,
            study_id=row.study_id,
            accession_number=accession,
            series_number=number,
        )
        folder = out / f"{row.patient_id}" / f"{row.study_id}_{number}"
        uids[row.volume_id] = write_dicom_series(volume, folder, identity=identity, syntax=syntax)
    studies = {row.study_id: row for row in catalogue.rows}
    write_csv(
        out / "reports.csv",
        (
            {
                "AccessionNumber": accessions[study],
                "Findings": row.report.findings,
                "Impression": row.report.impression,
            }
            for study, row in studies.items()
        ),
    )
    if catalogue.label_names:
        write_csv(
            out / "findings.csv",
            (
                {"AccessionNumber": accessions[study], **label_cells(catalogue, row)}
                for study, row in studies.items()
            ),
        )
    return uids


_KEEPS = "all but splits; ids under pseudonyms, labels with findings.csv"
EXPORTERS = (
    Exporter(
        name="dicom", layout="dicom", keeps=_KEEPS, write=partial(_write, syntax="explicit")
    ),
    Exporter(
        name="dicom_jpeg2000",
        layout="dicom",
        keeps=_KEEPS,
        write=partial(_write, syntax="jpeg2000"),
    ),
)  # fmt: skip
