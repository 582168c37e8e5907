"""Planted faults of reports, tables, ids, splits and labels."""

from clean_site import PLANTED, TEST, Site
from planted_faults import plants

# Reports -----------------------------------------------------------------------------------------


@plants("report_missing")
def no_report(site: Site) -> None:
    site.row.update({"findings": "", "impression": "Not given."})


@plants("report_findings_missing")
def no_findings(site: Site) -> None:
    site.row["findings"] = "Not given."


@plants("report_impression_missing")
def no_impression(site: Site) -> None:
    site.row["impression"] = ""


@plants("report_sections_equal")
def one_section_exported_twice(site: Site) -> None:
    site.row["impression"] = site.row["findings"]


@plants("report_too_short", "report_impression_missing")
def reference_instead_of_a_report(site: Site) -> None:
    site.row.update({"findings": "See above.", "impression": ""})


@plants("report_too_long")
def report_pasted_together(site: Site) -> None:
    site.row["findings"] = " ".join([site.row["findings"]] * 30)


@plants("report_truncated")
def report_cut_by_a_spreadsheet(site: Site) -> None:
    site.row["findings"] = site.row["findings"][:160].rsplit(" ", 1)[0] + " and the"


@plants("report_not_english")
def report_in_german(site: Site) -> None:
    site.row.update(
        {
            "findings": "Die Lunge ist beidseits gut belüftet. Kein Nachweis eines Ergusses. Das "
            "Herz ist normal groß. Keine vergrößerten Lymphknoten im Mediastinum. Die Knochen "
            "sind ohne Besonderheiten.",
            "impression": "Kein Hinweis auf eine akute Erkrankung der Lunge.",
        }
    )


@plants("report_identifiers")
def report_with_a_record_number(site: Site) -> None:
    site.row["findings"] += " Patient: John Q. Planted, MRN 00482913, phone 555-382-9912."


@plants("report_dates")
def report_with_a_date(site: Site) -> None:
    site.row["findings"] += " Unchanged since 03/14/2021."


@plants("report_encoding")
def report_in_a_broken_encoding(site: Site) -> None:
    site.row["findings"] += " Der Befund \ufffd\ufffd is unchanged \ufffd."


@plants("report_markup")
def report_with_markup(site: Site) -> None:
    site.row["findings"] = f"<p><b>{site.row['findings']}</b></p><br/>"


@plants("report_duplicate", names_volume=False)
def one_report_for_two_patients(site: Site) -> None:
    other = site.rows[PLANTED + 1]
    other |= {name: site.row[name] for name in ("findings", "impression")}


# Tables ------------------------------------------------------------------------------------------


@plants("table_columns", names_volume=False)
def column_renamed(site: Site) -> None:
    site.rows = [
        {("pid" if name == "patient_id" else name): value for name, value in row.items()}
        for row in site.rows
    ]


@plants("table_empty", names_volume=False)
def table_of_a_header_alone(site: Site) -> None:
    site.raw["reports.csv"] = b"study_id,patient_id,image,findings,impression,split\n"


@plants("table_unreadable", names_volume=False)
def table_in_latin_1(site: Site) -> None:
    site.raw["reports.csv"] = "study_id,patient_id,image,findings\n1,2,a.nii.gz,Größe\n".encode(
        "latin-1"
    )


@plants("table_ragged", names_volume=False)
def row_with_an_extra_field(site: Site) -> None:
    site.raw["reports.csv"] = b"study_id,patient_id,image,findings\n1,2,a.nii.gz,one, two\n"


@plants("table_cell_empty", names_volume=False)
def patient_left_out(site: Site) -> None:
    site.row["patient_id"] = ""


@plants("id_unsafe", names_volume=False)
def study_named_like_a_path(site: Site) -> None:
    site.labels = [row | {"study_id": _unsafe(site, row["study_id"])} for row in site.labels]
    site.row["study_id"] = "../outside"


def _unsafe(site: Site, study_id: str) -> str:
    return "../outside" if study_id == site.row["study_id"] else study_id


@plants("id_twice", names_volume=False)
def two_volumes_of_one_name(site: Site) -> None:
    for row in site.rows:
        row["volume_id"] = row["study_id"]
    site.rows[PLANTED + 1]["volume_id"] = site.row["volume_id"]


@plants("id_study_of_two_patients", "study_reconstructions", names_volume=False)
def study_of_two_patients(site: Site) -> None:
    other = site.rows[PLANTED + 1]
    site.labels = [row for row in site.labels if row["study_id"] != other["study_id"]]
    other |= {name: site.row[name] for name in ("study_id", "findings", "impression")}


@plants("report_contradiction", "study_reconstructions", names_volume=False)
def two_reports_of_one_study(site: Site) -> None:
    other = site.rows[PLANTED + 1]
    site.labels = [row for row in site.labels if row["study_id"] != other["study_id"]]
    other |= {name: site.row[name] for name in ("study_id", "patient_id")}


@plants("report_two_forms", names_volume=False)
def sections_and_a_whole_report(site: Site) -> None:
    for row in site.rows:
        row["report"] = ""
    site.row["report"] = "FINDINGS: Lungs are clear. IMPRESSION: Normal."


@plants("split_unknown", "split_incomplete", names_volume=False)
def split_misspelt(site: Site) -> None:
    for row in site.rows:
        if row["split"] == "val":
            row["split"] = "vall"


@plants("split_incomplete", names_volume=False)
def split_of_one_row_empty(site: Site) -> None:
    site.row["split"] = ""


@plants("split_patient_in_two", names_volume=False)
def patient_in_two_splits(site: Site) -> None:
    site.rows[TEST]["patient_id"] = site.row["patient_id"]


# Labels ------------------------------------------------------------------------------------------


@plants("label_value", names_volume=False)
def label_in_words(site: Site) -> None:
    site.labels[PLANTED]["Cardiomegaly"] = "positive"


@plants("label_twice", names_volume=False)
def two_label_rows_of_a_study(site: Site) -> None:
    site.labels.append(dict(site.labels[PLANTED]))


@plants("label_no_match", names_volume=False)
def labels_of_another_site(site: Site) -> None:
    site.labels = [row | {"study_id": f"other{i}"} for i, row in enumerate(site.labels)]


@plants("label_orphan", names_volume=False)
def label_row_without_a_scan(site: Site) -> None:
    site.labels.append(site.labels[0] | {"study_id": "gone"})


@plants("label_missing", names_volume=False)
def study_without_labels(site: Site) -> None:
    del site.labels[PLANTED]
