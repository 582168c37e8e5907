"""audit.json: what it holds, and that equal input gives equal bytes."""

import json
from pathlib import Path

from made_members import made
from PIL import Image

from mg3d.audit.document import SCHEMA, write_audit
from mg3d.audit.duplicates import find_copies
from mg3d.audit.outliers import rank
from mg3d.audit.report_review import review_reports
from mg3d.data.layouts.catalogue import Catalogue


def write(out: Path) -> dict:  # type: ignore[type-arg]
    members = [made(number) for number in range(30)]
    members[3] = made(3, faults=(("hu_mask", "41 values"),))
    members[4] = made(4, sha256="file5", patient_id="Doe, Jane")
    for each in members:
        path = out / "thumbnails" / f"{each.name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (6, 4)).save(path)
    reports, faults = review_reports(members, max_tokens=250, keep_without_report=True)
    faults += members[3].own_faults()
    copies = find_copies(members)
    catalogue = Catalogue(
        layout="manifest", folder=Path("site"), rows=tuple(each.row for each in members)
    )
    return write_audit(out, catalogue, members, faults, rank(members), copies, reports)


def test_it_says_everything_and_the_same_each_time(tmp_path: Path) -> None:
    document = write(tmp_path / "one")
    stored = json.loads((tmp_path / "one/audit.json").read_text())
    assert stored == json.loads(json.dumps(document))
    assert stored["schema"] == SCHEMA == "mg3d.audit/1"
    assert [fault["kind"] for fault in stored["faults"]] == ["hu_mask"]
    assert stored["duplicates"] == [
        {"likeness": "file", "volumes": ["v4", "v5"], "leaks": False, "detail": ""}
    ]
    broken = stored["volumes"][3]
    assert (broken["usable"], broken["faults"], broken["measures"]) == (False, ["hu_mask"], {})
    assert stored["volumes"][4]["patient_id"] == "(9 characters)"
    assert "Jane" not in (tmp_path / "one/audit.json").read_text()
    write(tmp_path / "two")
    for name in ("audit.json", "audit.html"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_pictures_show_the_faulty_the_odd_and_some_of_the_rest(tmp_path: Path) -> None:
    pictures = write(tmp_path)["pictures"]
    groups = {
        why: [p for p in pictures if p["why"] == why] for why in ("faulty", "unlike", "others")
    }
    assert [(p["volume_id"], p["text"]) for p in groups["faulty"]] == [
        ("v3", "A segmentation mask")
    ]
    assert len(groups["unlike"]) == 12
    assert len(groups["others"]) == 6
    assert len({picture["volume_id"] for picture in pictures}) == 19
