"""Merlin's spreadsheet, volumes and table of findings."""

import io
from pathlib import Path

from mg3d.data.layouts.catalogue import Catalogue
from mg3d.data.layouts.merlin import KEY, LABELS, REPORTS
from mg3d.files import write_atomic
from mg3d.phantom.export.exporter import Exporter, label_cells, volumes, write_csv, write_nifti


def _write(catalogue: Catalogue, out: Path) -> dict[str, str]:
    from openpyxl import Workbook  # half a second that nothing else needs

    for row, volume in volumes(catalogue.rows):
        write_nifti(out / "merlin_data" / f"{row.study_id}.nii.gz", volume)
    book = Workbook(write_only=True)
    sheet = book.create_sheet("reports")
    sheet.append([KEY, "Findings", "Split", "Few Shot"])
    for row in catalogue.rows:
        impression = f" IMPRESSION: {row.report.impression}" if row.report.impression else ""
        sheet.append([row.study_id, row.report.findings + impression, row.split or "train", 0])
    stream = io.BytesIO()
    book.save(stream)
    write_atomic(out / REPORTS, stream.getvalue())
    if catalogue.label_names:
        cells = ({KEY: row.study_id} | label_cells(catalogue, row) for row in catalogue.rows)
        not_mentioned = ({name: text or "-1" for name, text in row.items()} for row in cells)
        write_csv(out / LABELS, not_mentioned)
    return {row.volume_id: row.study_id for row in catalogue.rows}


EXPORTERS = (
    Exporter(
        name="merlin",
        layout="merlin",
        keeps="all but patients; one volume a study",
        write=_write,
    ),
)
