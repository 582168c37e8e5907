"""The table of planted faults: what is done to a clean site, and the name it must be given.

Each function changes one thing. `kind` is the name that `mg3d audit` must give; what `prepare`
must do follows from `mg3d.data.faults.FAULTS`. `also` names kinds that follow from the same cause.
"""

import gzip
import hashlib
import shutil
from collections.abc import Callable
from dataclasses import dataclass

import nibabel
import numpy as np
from clean_site import PLANTED, TEST, Site

from mg3d.data.grid import GridConfig
from mg3d.data.volume import Volume
from mg3d.phantom.phantom import PhantomConfig
from mg3d.phantom.study import plan_study, render

Change = Callable[[Site], None]


@dataclass(frozen=True)
class Planted:
    """One fault."""

    kind: str
    change: Change
    also: frozenset[str] = frozenset()
    """Kinds that may be found too."""
    names_volume: bool = True
    """Whether the fault names the planted volume, and only that."""

    @property
    def name(self) -> str:
        """Of the test."""
        return f"{self.kind}-{self.change.__name__}"


PLANTED_FAULTS: list[Planted] = []
"""Filled by this file and by planted_dicom_faults.py."""


def plants(kind: str, *also: str, names_volume: bool = True) -> Callable[[Change], Change]:
    """Add a change to the table."""

    def add(change: Change) -> Change:
        PLANTED_FAULTS.append(Planted(kind, change, frozenset(also), names_volume))
        return change

    return add


# Files -------------------------------------------------------------------------------------------


@plants("missing_file")
def file_deleted(site: Site) -> None:
    site.image.unlink()


@plants("unreadable")
def file_truncated(site: Site) -> None:
    content = site.image.read_bytes()
    site.image.write_bytes(content[: len(content) // 2])


@plants("unreadable")
def file_of_zero_bytes(site: Site) -> None:
    site.image.write_bytes(b"")


@plants("unreadable")
def file_holds_a_web_page(site: Site) -> None:
    site.image.write_bytes(b"<!doctype html><title>404 Not Found</title>" * 40)


@plants("unreadable")
def one_byte_flipped_in_the_middle(site: Site) -> None:
    content = bytearray(site.image.read_bytes())
    content[len(content) // 2] ^= 0x55
    site.image.write_bytes(bytes(content))


@plants("file_format")
def file_of_an_unknown_format(site: Site) -> None:
    name = site.row["image"].replace(".nii.gz", ".pdf")
    site.image.rename(site.folder / name)
    site.row["image"] = name


@plants("file_colour")
def file_in_colour(site: Site) -> None:
    array, affine = site.load()
    colour = np.zeros(array.shape, dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")])
    site.save(colour, affine)


@plants("file_array")
def archive_without_the_array(site: Site) -> None:
    array, _ = site.load()
    name = site.row["image"].replace(".nii.gz", ".npz")
    np.savez(site.folder / name, first=array, second=array)
    site.image.unlink()
    site.row["image"] = name


@plants("geometry_no_orientation")
def archive_without_geometry(site: Site) -> None:
    array, _ = site.load()
    name = site.row["image"].replace(".nii.gz", ".npz")
    np.savez(site.folder / name, array)
    site.image.unlink()
    site.row["image"] = name


@plants("file_checksum")
def checksum_of_another_file(site: Site) -> None:
    lines = []
    for row in site.rows:
        content = (site.folder / row["image"]).read_bytes()
        lines.append(f"{hashlib.sha256(content).hexdigest()}  {row['image']}")
    lines[PLANTED] = f"{hashlib.sha256(b'as sent').hexdigest()}  {site.row['image']}"
    site.raw["SHA256SUMS"] = ("\n".join(lines) + "\n").encode()


@plants("file_unlisted", names_volume=False)
def scan_that_no_row_names(site: Site) -> None:
    array, affine = site.load()
    site.save(array[::-1].copy(), affine, "images/forgotten.nii.gz")


# Geometry ----------------------------------------------------------------------------------------


@plants("geometry_not_3d")
def time_series(site: Site) -> None:
    array, affine = site.load()
    site.save(np.stack([array, array], axis=-1), affine)


@plants("geometry_not_3d")
def single_slice_without_third_axis(site: Site) -> None:
    array, affine = site.load()
    site.save(array[:, :, 20], affine)


@plants("geometry_no_orientation")
def neither_sform_nor_qform(site: Site) -> None:
    array, affine = site.load()
    image = nibabel.Nifti1Image(array, affine)
    image.set_sform(None, code=0)
    image.set_qform(None, code=0)
    nibabel.save(image, site.image)


@plants("geometry_zero_spacing")
def spacing_of_zero(site: Site) -> None:
    _write_rows(site, lambda affine: affine @ np.diag([1, 1, 0, 1]))


@plants("geometry_zero_spacing", "geometry_damaged")
def spacing_not_finite(site: Site) -> None:
    def spoil(affine: np.ndarray) -> np.ndarray:
        affine = affine.copy()
        affine[0, 0] = np.nan
        return affine

    _write_rows(site, spoil)


@plants("geometry_spacing_range")
def spacing_in_metres(site: Site) -> None:
    _write_rows(site, lambda affine: np.diag([0.001, 0.001, 0.001, 1]) @ affine)


@plants("geometry_spacing_range")
def spacing_in_micrometres(site: Site) -> None:
    _write_rows(site, lambda affine: np.diag([1000.0, 1000, 1000, 1]) @ affine)


@plants("geometry_not_invertible")
def two_axes_alike(site: Site) -> None:
    def flatten(affine: np.ndarray) -> np.ndarray:
        affine = affine.copy()
        affine[:3, 1] = affine[:3, 0] * 1.02
        return affine

    _write_rows(site, flatten)


@plants("geometry_sheared", "geometry_oblique")
def gantry_tilt_never_corrected(site: Site) -> None:
    def shear(affine: np.ndarray) -> np.ndarray:
        affine = affine.copy()
        slices = int(np.argmax(np.abs(affine[2, :3])))
        affine[1, slices] += 0.27 * affine[2, slices]  # 15 degrees
        return affine

    _write_rows(site, shear)


@plants("geometry_oblique")
def head_turned_by_ten_degrees(site: Site) -> None:
    angle = np.radians(10)
    turn = np.eye(4)
    turn[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    _write_rows(site, lambda affine: turn @ affine)


def _write_rows(site: Site, change: Callable[[np.ndarray], np.ndarray]) -> None:
    """Put a changed sform into the header as it lies on the disk, past nibabel's checks."""
    array, affine = site.load()
    image = nibabel.Nifti1Image(array, affine)
    content = bytearray(image.to_bytes())
    rows = np.asarray(change(affine)[:3], dtype="<f4")
    content[252:256] = np.array([0, 1], dtype="<i2").tobytes()  # qform_code, sform_code
    content[280:328] = rows.tobytes()  # srow_x, srow_y, srow_z
    _replace(site, bytes(content))


def _replace(site: Site, content: bytes) -> None:
    site.image.write_bytes(gzip.compress(content, compresslevel=1, mtime=0))


@plants("geometry_forms_disagree")
def sform_and_qform_mirrored(site: Site) -> None:
    array, affine = site.load()
    image = nibabel.Nifti1Image(array, affine)
    image.set_sform(affine, code=1)
    image.set_qform(np.diag([-1.0, 1, 1, 1]) @ affine, code=1)
    nibabel.save(image, site.image)


@plants("geometry_unit")
def header_in_metres(site: Site) -> None:
    array, affine = site.load()
    image = nibabel.Nifti1Image(array, np.diag([0.001, 0.001, 0.001, 1]) @ affine)
    image.header.set_xyzt_units("meter")
    nibabel.save(image, site.image)


# Hounsfield units --------------------------------------------------------------------------------


def _voxels(site: Site, change: Callable[[np.ndarray], np.ndarray], dtype: str = "f4") -> None:
    array, affine = site.load()
    site.save(change(array.astype(np.float64)).astype(dtype), affine)


@plants("hu_not_finite")
def voxels_not_finite(site: Site) -> None:
    def spoil(array: np.ndarray) -> np.ndarray:
        array[:3] = np.nan
        return array

    _voxels(site, spoil)


@plants("hu_constant")
def image_of_air_alone(site: Site) -> None:
    _voxels(site, lambda array: np.full_like(array, -1000), "i2")


@plants("hu_mask")
def mask_instead_of_the_scan(site: Site) -> None:
    shutil.copy(site.folder / "masks" / site.image.name, site.image)


@plants("hu_8bit")
def windowed_to_8_bits(site: Site) -> None:
    _voxels(site, lambda array: (array.clip(-1000, 400) + 1000) * 255 / 1400, "u1")


@plants("hu_unit_interval")
def scaled_to_the_unit_interval(site: Site) -> None:
    _voxels(site, lambda array: (array.clip(-1000, 1000) + 1000) / 2000)


@plants("hu_rescaled_twice")
def intercept_applied_twice(site: Site) -> None:
    _voxels(site, lambda array: array - 1024, "i2")


@plants("hu_never_rescaled")
def intercept_never_applied(site: Site) -> None:
    _voxels(site, lambda array: array + 1024, "u2")


@plants("hu_shifted")
def shifted_by_five_hundred(site: Site) -> None:
    _voxels(site, lambda array: array + 500, "i2")


@plants("hu_slope")
def slope_of_two(site: Site) -> None:
    _voxels(site, lambda array: (array + 1000) * 1.5 - 1000, "i2")


@plants("hu_beyond_16_bit")
def values_beyond_16_bits(site: Site) -> None:
    def spoil(array: np.ndarray) -> np.ndarray:
        array[4:6, 4:6, 4:6] = 70_000
        return array

    _voxels(site, spoil)


@plants("hu_windowed", "hu_no_air", "anatomy_not_chest")
def clipped_to_a_soft_tissue_window(site: Site) -> None:
    _voxels(site, lambda array: array.clip(-160, 240), "i2")


@plants("hu_no_air", "anatomy_not_chest", "hu_little_soft_tissue")
def crop_of_the_liver_alone(site: Site) -> None:
    array, affine = site.load()
    inside = np.where(array < -150, 40 + array % 30, array)
    site.save(inside.astype(np.int16), affine)


# Anatomy -----------------------------------------------------------------------------------------


def _turn_patient(site: Site, turn: np.ndarray) -> None:
    """Leave the voxels where they are and tell the header that the patient lies otherwise."""
    array, affine = site.load()
    whole = np.eye(4)
    whole[:3, :3] = turn
    site.save(array, whole @ affine)


@plants("anatomy_upside_down")
def header_swaps_head_and_feet(site: Site) -> None:
    _turn_patient(site, np.diag([1, 1, -1]))


@plants("anatomy_front_to_back")
def header_swaps_front_and_back(site: Site) -> None:
    _turn_patient(site, np.diag([1, -1, 1]))


@plants("anatomy_left_to_right")
def header_swaps_left_and_right(site: Site) -> None:
    """In a patient whose heart lies far to the left; the check is silent for 59 of 60 phantoms."""
    settings = PhantomConfig(out=site.folder, seed=71, difficulty="standard", grid=(56, 48, 48))
    hu, _, affine = render(plan_study(settings, "train", 6))
    site.save(hu, np.diag([-1, 1, 1, 1]) @ affine)


@plants("anatomy_permuted")
def header_swaps_two_axes(site: Site) -> None:
    _turn_patient(site, np.array([[1, 0, 0], [0, 0, 1], [0, 1, 0]]))


@plants("anatomy_not_chest")
def scan_of_the_abdomen(site: Site) -> None:
    array, affine = site.load()
    slices = int(np.argmax(np.abs(affine[2, :3])))
    turned = np.moveaxis(array, slices, -1)
    upwards = turned if affine[2, slices] > 0 else turned[:, :, ::-1]
    upwards = upwards.copy()
    lungs = upwards < -500
    body = np.zeros_like(lungs)
    box = np.argwhere(upwards[:, :, 5] > -200)
    (x0, y0), (x1, y1) = box.min(axis=0), box.max(axis=0)
    body[x0 + 4 : x1 - 3, y0 + 4 : y1 - 3] = True
    upwards[lungs & body] = 45
    site.save(np.moveaxis(upwards, -1, slices).astype(np.int16), affine)


# Duplicates and leaks ----------------------------------------------------------------------------


@plants("duplicate_volume", names_volume=False)
def one_file_for_two_patients(site: Site) -> None:
    shutil.copy(site.image, site.folder / site.rows[PLANTED + 1]["image"])


@plants("duplicate_volume", "anatomy_front_to_back", names_volume=False)
def same_voxels_under_another_header(site: Site) -> None:
    array, affine = site.load()
    nibabel.save(
        nibabel.Nifti1Image(array[::-1].copy(), affine * 1.0),
        site.folder / site.rows[PLANTED + 1]["image"],
    )


@plants("duplicate_volume_near", "anatomy_left_to_right", names_volume=False)
def resampled_copy_for_another_patient(site: Site) -> None:
    source = Volume(*site.load()).reorient_ras()
    shape = tuple(round(size * 0.8) for size in source.shape)
    spacing = tuple(
        mm * a / b for mm, a, b in zip(source.spacing_mm, source.shape, shape, strict=True)
    )
    copy = source.to_grid(GridConfig(grid=shape, spacing_mm=spacing))  # type: ignore[arg-type]
    nibabel.save(
        nibabel.Nifti1Image(np.rint(copy.array).astype(np.int16), copy.affine),
        site.folder / site.rows[PLANTED + 1]["image"],
    )


@plants("split_leak_volume", "duplicate_volume", names_volume=False)
def training_scan_in_the_test_split(site: Site) -> None:
    shutil.copy(site.image, site.folder / site.rows[TEST]["image"])


@plants("split_leak_report", "report_duplicate", names_volume=False)
def training_report_in_the_test_split(site: Site) -> None:
    site.rows[TEST] |= {name: site.row[name] for name in ("findings", "impression")}


@plants("study_reconstructions", names_volume=False)
def two_reconstructions_of_a_study(site: Site) -> None:
    array, affine = site.load()
    rough = array + np.random.default_rng(0).normal(0, 25, array.shape)
    name = site.row["image"].replace(".nii.gz", "_b.nii.gz")
    site.save(np.rint(rough).clip(-1024, 3071).astype(np.int16), affine, name)
    site.rows.append({**site.row, "image": name})
