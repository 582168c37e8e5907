"""Planted faults of DICOM series: the planted scan is handed over as one file a slice."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pydicom
from clean_site import Site
from planted_faults import plants
from pydicom.dataset import Dataset

from mg3d.data.grid import GridConfig
from mg3d.data.volume import Volume
from mg3d.phantom.export.dicom_series import write_dicom_series

MIDDLE = 20


def as_dicom(site: Site, slices: int = 1) -> list[Path]:
    """Replace the planted file by a folder, with so many slices for one; from feet to head."""
    volume = Volume(*site.load()).reorient_ras()
    x, y, z = volume.shape
    sagittal, coronal, axial = volume.spacing_mm
    if slices > 1:
        finer = GridConfig(grid=(x, y, z * slices), spacing_mm=(sagittal, coronal, axial / slices))
        volume = volume.to_grid(finer)
    site.image.unlink()
    site.row["image"] = site.row["image"].removesuffix(".nii.gz")
    write_dicom_series(volume, site.image)
    return sorted(site.image.iterdir())


def edit(paths: list[Path], change: Callable[[int, Dataset], None]) -> None:
    """Rewrite some slices."""
    for number, path in enumerate(paths):
        header = pydicom.dcmread(path)
        change(number, header)
        header.save_as(path)


@plants("dicom_thickness")
def thickness_is_not_the_distance(site: Site) -> None:
    edit(as_dicom(site), lambda _, header: setattr(header, "SliceThickness", 1.25))


@plants("dicom_gap")
def ten_slices_missing(site: Site) -> None:
    for path in as_dicom(site)[MIDDLE : MIDDLE + 10]:
        path.unlink()


@plants("dicom_missing_slices")
def one_slice_missing(site: Site) -> None:
    as_dicom(site, slices=3)[MIDDLE].unlink()


@plants("dicom_duplicate_slices")
def slice_stored_twice(site: Site) -> None:
    path = as_dicom(site)[MIDDLE]
    shutil.copy(path, path.with_name(path.name + "_copy"))


@plants("dicom_same_position")
def two_different_slices_at_each_position(site: Site) -> None:
    paths = as_dicom(site)
    for path in paths:
        shutil.copy(path, path.with_name(path.name + "_other"))

    def change(number: int, header: Dataset) -> None:
        header.SOPInstanceUID += f".{number}"
        header.PixelData = bytes(len(header.PixelData))

    edit([path.with_name(path.name + "_other") for path in paths], change)


@plants("dicom_gantry_tilt", "dicom_tilt_at_odds", "geometry_oblique")
def gantry_tilted(site: Site) -> None:
    def change(number: int, header: Dataset) -> None:
        x, y, z = header.ImagePositionPatient
        header.ImagePositionPatient = [x, round(float(y) + 1.5 * number, 3), z]
        header.GantryDetectorTilt = -12.5

    edit(as_dicom(site), change)


@plants("dicom_uneven_slices", "dicom_thickness")
def slices_slightly_uneven(site: Site) -> None:
    def change(number: int, header: Dataset) -> None:
        x, y, z = header.ImagePositionPatient
        header.ImagePositionPatient = [x, y, round(float(z) + (1.2 if number % 2 else 0), 3)]

    edit(as_dicom(site), change)


@plants("dicom_mixed_slices")
def half_of_the_slices_turned(site: Site) -> None:
    def change(number: int, header: Dataset) -> None:
        if number % 2:
            header.ImageOrientationPatient = [1, 0, 0, 0, 0, -1]

    edit(as_dicom(site), change)


@plants("dicom_no_position")
def slices_without_position(site: Site) -> None:
    edit(as_dicom(site), lambda _, header: header.pop("ImagePositionPatient"))


@plants("dicom_no_series")
def localizer_alone(site: Site) -> None:
    paths = as_dicom(site)
    for path in paths[1:]:
        path.unlink()
    edit(
        paths[:1],
        lambda _, header: setattr(header, "ImageType", ["ORIGINAL", "PRIMARY", "LOCALIZER"]),
    )


@plants("dicom_no_series")
def magnetic_resonance(site: Site) -> None:
    def change(_: int, header: Dataset) -> None:
        header.Modality = "MR"
        header.SOPClassUID = "1.2.840.10008.5.1.4.1.1.4"

    edit(as_dicom(site), change)


@plants("dicom_too_few_slices")
def a_single_slice(site: Site) -> None:
    for path in as_dicom(site)[1:]:
        path.unlink()


@plants("hu_never_rescaled", "dicom_rescale_missing")
def slices_without_rescale(site: Site) -> None:
    def change(_: int, header: Dataset) -> None:
        del header.RescaleIntercept, header.RescaleSlope, header.RescaleType

    edit(as_dicom(site), change)


@plants("hu_rescale")
def slope_of_zero(site: Site) -> None:
    edit(as_dicom(site), lambda _, header: setattr(header, "RescaleSlope", 0))


@plants("dicom_quantity")
def electron_density_instead_of_hu(site: Site) -> None:
    edit(as_dicom(site), lambda _, header: setattr(header, "RescaleType", "ED"))


@plants("dicom_pixels")
def slice_with_half_its_pixels(site: Site) -> None:
    path = as_dicom(site)[MIDDLE]
    edit(
        [path],
        lambda _, header: setattr(
            header, "PixelData", header.PixelData[: len(header.PixelData) // 2]
        ),
    )


@plants("dicom_derived")
def derived_slices_alone(site: Site) -> None:
    edit(
        as_dicom(site),
        lambda _, header: setattr(header, "ImageType", ["DERIVED", "SECONDARY", "AXIAL"]),
    )


@plants("dicom_left_out")
def localizer_beside_the_series(site: Site) -> None:
    path = as_dicom(site)[MIDDLE]
    other = path.with_name("SCOUT")
    shutil.copy(path, other)

    def change(_: int, header: Dataset) -> None:
        header.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
        header.SeriesInstanceUID += ".9"
        header.SOPInstanceUID += ".9"

    edit([other], change)


@plants("dicom_other_series")
def two_reconstructions_in_one_folder(site: Site) -> None:
    paths = as_dicom(site)
    for path in paths[: len(paths) // 2]:
        shutil.copy(path, path.with_name(path.name + "_b"))

    def change(_: int, header: Dataset) -> None:
        header.SeriesInstanceUID += ".7"
        header.SOPInstanceUID += ".7"

    edit([path.with_name(path.name + "_b") for path in paths[: len(paths) // 2]], change)


@plants("dicom_damaged_files")
def damaged_file_beside_the_series(site: Site) -> None:
    path = as_dicom(site)[MIDDLE]
    path.with_name("IM99999").write_bytes(path.read_bytes()[:200])
