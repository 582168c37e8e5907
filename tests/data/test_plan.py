"""The plan: every row has its place, in one order, whatever the tables say."""

import time
from pathlib import Path
from typing import Any

from mg3d.data.faults import Fault
from mg3d.data.grid import GridConfig
from mg3d.data.layouts.catalogue import Catalogue, CatalogueRow
from mg3d.data.preparation.intake import ScanOutcome
from mg3d.data.preparation.plan import make_plan, with_faults
from mg3d.data.preparation.removed import RemovedPatients
from mg3d.data.scan import ScanSource
from mg3d.data.text.reports import Report

NOBODY = RemovedPatients(salt="00" * 16)


def _catalogue(num: int, faults: tuple[Fault, ...] = ()) -> Catalogue:
    rows = tuple(
        CatalogueRow(
            place=f"line {number + 2}", volume_id=f"v{number:05d}", study_id=f"s{number // 2:05d}",
            patient_id=f"p{number // 4:05d}", source=ScanSource(path=Path(f"{number}.nii")),
            image=f"{number}.nii", report=Report("Clear lungs.") if number % 2 else Report(),
        )
        for number in reversed(range(num))
    )  # fmt: skip
    return Catalogue(layout="manifest", folder=Path(), rows=rows, faults=faults)


def _plan(catalogue: Catalogue, removed: RemovedPatients = NOBODY, **options: Any) -> Any:
    return make_plan(catalogue, Path("store"), GridConfig(), removed, **options)


def test_rows_are_sorted_and_each_is_a_job_or_has_an_outcome() -> None:
    plan = _plan(_catalogue(8))
    assert [row.volume_id for row in plan.rows] == [f"v{n:05d}" for n in range(8)]
    assert [job.volume_id for job in plan.jobs] == [f"v{n:05d}" for n in (1, 3, 5, 7)]
    assert {o.volume_id: o.problem for o in plan.outcomes} == {
        f"v{n:05d}": "report_missing" for n in (0, 2, 4, 6)
    }
    assert len(_plan(_catalogue(8), keep_without_report=True).jobs) == 8


def test_a_limit_takes_the_first_ids_whatever_the_order_of_the_table() -> None:
    plan = _plan(_catalogue(8), limit=3)
    assert [row.volume_id for row in plan.rows] == ["v00000", "v00001", "v00002"]
    assert [job.volume_id for job in plan.jobs] == ["v00001"]


def test_removed_patients_leave_no_row_and_do_not_count_for_the_limit() -> None:
    removed = NOBODY.plus("p00000", "train", "", "")
    plan = _plan(_catalogue(8), removed, keep_without_report=True, limit=2)
    assert [row.volume_id for row in plan.rows] == ["v00004", "v00005"]
    assert (plan.num_barred_patients, plan.num_barred_volumes) == (1, 4)
    assert "p00000" not in str(plan)


def test_faults_of_the_tables_are_acted_on_and_kept() -> None:
    faults = (
        Fault(kind="file_slices", message="gap", volume_id="v00003"),
        Fault(kind="hu_no_air", message="odd", volume_id="v00005"),
        Fault(kind="report_dates", message="dates", study_id="s00003"),
        Fault(kind="file_unlisted", message="3 files"),
    )
    plan = _plan(_catalogue(8, faults))
    assert [job.volume_id for job in plan.jobs] == ["v00001", "v00005", "v00007"]
    assert {o.volume_id: o.problem for o in plan.outcomes}["v00003"] == "file_slices"
    assert plan.noticed == {
        "v00005": (("hu_no_air", "odd"),),
        "v00006": (("report_dates", "dates"),),
        "v00007": (("report_dates", "dates"),),
    }
    outcome = ScanOutcome(volume_id="v", image="", faults=(("hu_windowed", "w"),))
    assert with_faults(outcome, (("report_dates", "d"),)).faults == (
        ("report_dates", "d"), ("hu_windowed", "w"),
    )  # fmt: skip
    assert with_faults(outcome, ()) is outcome


def test_fifty_thousand_rows_are_planned_without_a_look_at_any_file() -> None:
    catalogue = _catalogue(50_000)
    began = time.process_time()
    plan = _plan(catalogue, NOBODY.plus("p00007", "train", "", ""))
    assert len(plan.jobs) == 24_998
    assert time.process_time() - began < 20  # measured 0.5 s; quadratic work would take minutes
