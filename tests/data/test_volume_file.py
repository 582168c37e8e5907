"""The volume file: the same bytes each time, vouched for by its header, damage noticed."""

import io
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load

from mg3d.data.volume_file import (
    encode_volume,
    header_of,
    is_intact,
    map_voxels,
    read_header,
    read_voxels,
)
from mg3d.errors import DataError

FACTS = {"affine": np.eye(4).tolist(), "image": "a/\u00e9.nii", "b": 1, "c": 2, "d": None}


@pytest.fixture
def hu() -> np.ndarray:
    return np.random.default_rng(0).integers(-1000, 1000, (3, 4, 5)).astype(np.int16)


@pytest.fixture
def path(hu: np.ndarray, tmp_path: Path) -> Path:
    target = tmp_path / "v.safetensors"
    target.write_bytes(encode_volume(hu, FACTS))
    return target


def test_bytes_are_the_same_each_time_and_read_back(hu: np.ndarray, path: Path) -> None:
    contents = {encode_volume(hu, FACTS) for _ in range(20)}  # metadata order was random
    assert contents == {path.read_bytes()}
    header = read_header(path, "here")
    found = map_voxels(path, header)
    np.testing.assert_array_equal(found, hu)
    assert found.dtype == np.int16
    assert {name: header.facts[name] for name in FACTS} == FACTS
    assert header.sha256 == header_of(path.read_bytes(), "here").sha256


def test_any_tool_reads_it(hu: np.ndarray, path: Path) -> None:
    np.testing.assert_array_equal(load(path.read_bytes())["hu"], hu)


def test_an_order_in_memory_is_no_part_of_it(hu: np.ndarray, path: Path) -> None:
    turned = np.asfortranarray(hu)
    assert encode_volume(turned, FACTS) == path.read_bytes()


def test_header_names_the_whole_content(hu: np.ndarray, path: Path) -> None:
    """Other voxels or other facts give another hash of the header."""
    known = read_header(path, "here").sha256
    other = hu.copy()
    other[1, 2, 3] += 1
    assert header_of(encode_volume(other, FACTS), "here").sha256 != known
    assert header_of(encode_volume(hu, {**FACTS, "b": 2}), "here").sha256 != known


def test_voxels_are_mapped_and_read_only(path: Path) -> None:
    voxels = map_voxels(path, read_header(path, "here"))
    assert not voxels.flags.owndata
    with pytest.raises(ValueError, match="read-only"):
        voxels[0, 0, 0] = 1


def test_voxels_are_read_to_where_they_are_wanted(hu: np.ndarray, path: Path) -> None:
    batch = np.zeros((3, *hu.shape), np.int16)
    read_voxels(path, "here", batch[1])
    assert np.array_equal(batch[1], hu)
    assert not batch[[0, 2]].any()
    with pytest.raises(DataError, match=r"here: \(3, 4, 5\) voxels instead of \(5, 4, 3\)"):
        read_voxels(path, "here", np.zeros((5, 4, 3), np.int16))
    with pytest.raises(TypeError, match="contiguous"):  # a copy would be filled instead
        read_voxels(path, "here", np.zeros((5, 4, 3), np.int16).T)
    with pytest.raises(DataError, match="here: No such file"):
        read_voxels(path.with_name("none"), "here", batch[0])


def test_a_file_that_is_cut_off_while_it_is_read_is_damaged(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    header = read_header(path, "here")
    monkeypatch.setattr("mg3d.data.volume_file._read_header", lambda *_: header)
    path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(DataError, match=r"here: the file is damaged \(it was cut off while"):
        read_voxels(path, "here", np.zeros(header.shape, np.int16))


@pytest.mark.parametrize("cut", [-2, -1, 5, 0, 300])
def test_a_file_cut_off_or_grown_is_damaged(path: Path, cut: int) -> None:
    whole = path.read_bytes()
    for broken in (whole[:cut] if cut else b"", whole + b"\0" * (abs(cut) or 9)):
        path.write_bytes(broken)
        with pytest.raises(DataError, match=r"here: the file is damaged.*mg3d prepare"):
            read_header(path, "here")


def test_noise_is_damaged_and_costs_no_memory(path: Path) -> None:
    for content in (b"\xff" * 100, b"\0" * 100, np.random.default_rng(1).bytes(5000)):
        path.write_bytes(content)
        with pytest.raises(DataError, match="damaged"):
            read_header(path, "here")
        with pytest.raises(DataError, match="damaged"):
            header_of(content, "here")


def test_a_missing_file_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"here: No such file.*only what is missing is made"):
        read_header(tmp_path / "none", "here")


def test_flipped_bits_are_found(path: Path) -> None:
    assert is_intact(path, read_header(path, "here"))
    content = io.BytesIO(path.read_bytes())
    content.seek(-3, io.SEEK_END)
    byte = content.read(1)[0]
    content.seek(-3, io.SEEK_END)
    content.write(bytes([byte ^ 4]))
    path.write_bytes(content.getvalue())
    assert not is_intact(path, read_header(path, "here"))
