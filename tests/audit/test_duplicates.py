"""Copies: by content, by voxels, nearly; within a patient, between patients, across splits."""

from made_members import made, some_print

from mg3d.audit.duplicates import find_copies


def kinds(*members) -> list[tuple[str, str]]:  # type: ignore[no-untyped-def]
    return [
        (fault.kind, fault.volume_id) for each in find_copies(members) for fault in each.faults()
    ]


def test_different_scans_are_no_copies() -> None:
    assert kinds(*(made(number) for number in range(6))) == []


def test_one_file_of_several_patients_is_one_fault() -> None:
    members = [made(number, sha256="same") for number in (1, 2, 3)]
    (copies,) = find_copies([made(0), *members, made(4)])
    assert copies.likeness == "file"
    (fault,) = copies.faults()
    assert fault.kind == "duplicate_volume"
    assert fault.message == "v1, v2, v3 hold the same file content"
    assert fault.place == "line 4"


def test_a_copy_of_a_copy_is_told_once_by_its_strongest_likeness() -> None:
    one = made(1)
    same_file = made(2, sha256="file1", voxels="voxels1", fingerprint=some_print(1))
    same_voxels = made(3, voxels="voxels1", fingerprint=some_print(1))
    near = made(4, fingerprint=some_print(1))
    found = find_copies([one, same_file, same_voxels, near])
    named = [(each.likeness, [m.row.volume_id for m in each.members]) for each in found]
    assert named == [
        ("file", ["v1", "v2"]),
        ("voxels", ["v1", "v3"]),
        ("nearly", ["v1", "v4"]),
    ]


def test_only_different_patients_in_different_splits_leak() -> None:
    one = made(1)
    assert kinds(one, made(2, sha256="file1", split="test")) == [
        ("duplicate_volume", "v2"),
        ("split_leak_volume", "v2"),
    ]
    # The same patient in two splits is what the table itself is stopped for.
    assert kinds(one, made(2, sha256="file1", split="test", patient_id="p1")) == [
        ("duplicate_volume", "v2")
    ]
    assert kinds(one, made(2, sha256="file1")) == [("duplicate_volume", "v2")]


def test_a_leak_is_seen_whatever_the_order() -> None:
    same = {"sha256": "same"}
    members = [made(1, **same), made(2, **same), made(3, split="val", patient_id="p2", **same)]
    assert ("split_leak_volume", "v2") in kinds(*members)


def test_near_copies_within_a_study_are_its_reconstructions() -> None:
    one, two = made(1), made(2, fingerprint=some_print(1), study_id="s1", patient_id="p1")
    assert kinds(one, two) == []
    exact = made(2, sha256="file1", study_id="s1", patient_id="p1")
    assert kinds(one, exact) == [("duplicate_volume", "v2")]
    other = made(2, fingerprint=some_print(1), split="test")
    (fault,) = (f for each in find_copies([one, other]) for f in each.faults())
    assert fault.kind == "duplicate_volume_near"
    assert fault.message.endswith("(likeness 1.0000), in test and train")


def test_broken_scans_are_not_compared() -> None:
    mask = (("hu_mask", ""),)
    assert kinds(made(1, sha256="m", faults=mask), made(2, sha256="m", faults=mask)) == []


def test_long_lists_are_cut() -> None:
    (copies,) = find_copies([made(number, sha256="same") for number in range(9)])
    (fault,) = copies.faults()
    assert fault.message.startswith("v0, v1, v2, v3, v4 and 4 more hold")
