"""Side tables: labels and reports that a command names beside a layout which has none itself."""

from collections.abc import Sequence
from dataclasses import replace

from mg3d.data.faults import Fault
from mg3d.data.layouts.catalogue import CatalogueRow
from mg3d.data.layouts.label_table import read_labels
from mg3d.data.layouts.layout import LayoutOptions
from mg3d.data.layouts.report_table import read_reports
from mg3d.data.layouts.table import read_table

STUDY_KEYS = ("study_id", "study", "case", "id")
"""Names of the key column of such tables, most preferred first."""


def attach_tables(
    rows: Sequence[CatalogueRow], options: LayoutOptions, faults: list[Fault]
) -> tuple[list[CatalogueRow], tuple[str, ...]]:
    """The rows with the reports and labels of the tables that the command names.

    Args:
        rows: As the layout found them.
        options: ``reports`` and ``labels``, both by study id.
        faults: What does not match is added here.

    Returns:
        The rows and the names of their labels.

    Raises:
        TableError: If a table cannot be read.
    """
    attached = list(rows)
    if options.reports is not None:
        attached = read_reports(options.reports, STUDY_KEYS, faults).attach(attached, faults)
    if options.labels is None:
        return attached, ()
    table = read_table(options.labels)
    key = next((name for name in STUDY_KEYS if name in table.columns), STUDY_KEYS[0])
    labels = read_labels(table, key, faults)
    faults += labels.match({row.study_id for row in attached}, "study")
    return [replace(row, labels=labels.of(row.study_id)) for row in attached], labels.names
