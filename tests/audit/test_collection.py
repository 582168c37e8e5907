"""Members: which may be compared, and what of them may be shown."""

from made_members import made

from mg3d.audit.collection import member, plain
from mg3d.data.splits import SplitConfig, split_of


def test_ids_that_could_be_texts_or_persons_are_counted() -> None:
    assert plain("train_1_a.b+c=d-2") == "train_1_a.b+c=d-2"
    assert plain("Doe^Jane") == "(8 characters)"
    assert plain("No acute finding.") == "(17 characters)"
    assert plain("") == "(0 characters)"


def test_only_scans_that_prepare_keeps_are_usable() -> None:
    assert made(1).usable
    assert made(1, faults=(("hu_no_air", ""), ("geometry_oblique", ""))).usable
    assert not made(1, faults=(("hu_mask", ""),)).usable
    assert not made(1, hu=None).usable


def test_a_fault_carries_place_and_plain_ids() -> None:
    broken = made(3, faults=(("hu_mask", "41 values"),), patient_id="Doe, Jane")
    (fault,) = broken.own_faults()
    assert (fault.place, fault.volume_id, fault.study_id) == ("line 5", "v3", "s3")
    assert fault.patient_id == "(9 characters)"
    assert fault.severity == "error"


def test_a_site_without_splits_gets_those_of_prepare() -> None:
    settings = SplitConfig(seed=4)
    for number in range(20):
        row = made(number, split=None).row
        given = member(row, made(number).facts, settings)
        assert given.split == split_of(row.patient_id, settings)
    assert member(made(1, split="test").row, made(1).facts, settings).split == "test"
