"""DICOMDIR, as discs hold it."""

import numpy as np
import pytest
from dicom_cases import SLICES, ct_slice, hu, write
from pydicom.fileset import FileSet

from mg3d.data.readers.dicom.directory import listed_files
from mg3d.data.reading import read_scan, source_files
from mg3d.data.scan import ScanSource
from mg3d.data.scan_error import ScanError


def _disc(folder):
    disc = FileSet()
    for index in range(SLICES):
        header = ct_slice(index)
        header.StudyDate, header.StudyTime, header.StudyID = "20200101", "101010", "1"
        disc.add(write(folder / "loose" / f"{index}", header))
    disc.write(folder / "disc")
    return folder / "disc" / "DICOMDIR"


def test_a_disc_is_read_through_its_directory(tmp_path):
    path = _disc(tmp_path)
    scan = read_scan(ScanSource(path=path))
    np.testing.assert_array_equal(scan.volume.array, hu())
    assert scan.faults == ()
    assert len(source_files(ScanSource(path=path))) == SLICES
    assert path not in source_files(ScanSource(path=path))


def test_the_folder_of_a_disc_is_read_without_it(tmp_path):
    scan = read_scan(ScanSource(path=_disc(tmp_path).parent))
    np.testing.assert_array_equal(scan.volume.array, hu())
    assert scan.faults == ()


def test_names_in_lower_case_and_missing_files(tmp_path):
    path = _disc(tmp_path)
    files, num_absent = listed_files(path)
    assert (len(files), num_absent) == (SLICES, 0)
    for file in files[1:]:
        file.rename(file.with_name(file.name.lower()))
    files[0].unlink()
    found, num_absent = listed_files(path)
    assert (len(found), num_absent) == (SLICES - 1, 1)
    scan = read_scan(ScanSource(path=path))
    assert "dicom_absent_files" in [kind for kind, _ in scan.faults]


def test_names_never_lead_out_of_the_disc(tmp_path):
    path = _disc(tmp_path)
    write(tmp_path / "outside", ct_slice(0))
    content = path.read_bytes()
    files, _ = listed_files(path)
    name = "\\".join(files[0].relative_to(path.parent).parts).encode()
    assert name in content
    path.write_bytes(content.replace(name, b"..\\OUTSIDE".ljust(len(name))))
    found, num_absent = listed_files(path)
    assert num_absent == 1
    assert all(path.parent in file.parents for file in found)


def test_what_is_no_directory(tmp_path):
    (tmp_path / "DICOMDIR").write_bytes(b"x" * 300)
    with pytest.raises(ScanError):
        read_scan(ScanSource(path=tmp_path / "DICOMDIR"))
