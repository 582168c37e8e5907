from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest

from mg3d.phantom.acquisition import (
    ORIENTATIONS,
    blank_canvas,
    scan_voxels,
    stored_affine,
    stored_order,
)


@pytest.mark.parametrize("code", ORIENTATIONS)
def test_reorientation_recovers_patient_order(healthy, code):
    scan = replace(healthy.scan, orientation=code)
    voxels = np.random.default_rng(0).integers(-1000, 1000, scan.grid).astype(np.int16)
    image = nib.Nifti1Image(stored_order(voxels, scan), stored_affine(scan))
    assert "".join(nib.aff2axcodes(image.affine)) == code
    canonical = nib.as_closest_canonical(image)
    assert (np.asarray(canonical.dataobj) == voxels).all()
    assert canonical.header.get_zooms() == pytest.approx(scan.spacing_mm, abs=1e-4)


@pytest.mark.parametrize("code", ORIENTATIONS)
def test_the_centre_of_the_grid_keeps_its_scanner_place(healthy, code):
    scan = replace(healthy.scan, orientation=code)
    affine = stored_affine(scan)
    stored = stored_order(np.zeros(scan.grid, np.uint8), scan).shape
    centre = affine @ [*((np.array(stored) - 1) / 2), 1]
    np.testing.assert_allclose(centre[:3], scan.origin_mm, atol=1e-9)  # measured 0


def test_scans_differ_and_cover_the_chest(plans):
    scans = [plan.scan for plan in plans]
    assert {scan.orientation for scan in scans} == set(ORIENTATIONS)
    assert len({scan.spacing_mm for scan in scans}) > 500
    assert len({scan.grid for scan in scans}) > 20
    for plan in plans:
        canvas = blank_canvas(plan.scan)
        assert canvas.x.max() > plan.anatomy.half_width
        assert canvas.x.min() < -plan.anatomy.half_width
        assert canvas.y.min() < -plan.anatomy.half_depth
        assert canvas.y.max() > plan.anatomy.half_depth
        assert canvas.z.max() > plan.anatomy.apex
        assert canvas.z.min() < plan.anatomy.dome_left - 40


def test_noise_has_its_deviation_and_kernels_shape_it(healthy):
    flat = np.zeros(healthy.scan.grid, np.float32)
    plain = replace(healthy.scan, kernel=0.0, noise_hu=20.0)
    deviation = scan_voxels(flat, plain).std()
    assert deviation == pytest.approx(20, rel=0.01)  # measured 0.3 %
    assert scan_voxels(flat, replace(plain, kernel=0.6)).std() < 0.8 * deviation
    assert scan_voxels(flat, replace(plain, kernel=-0.3)).std() > 1.1 * deviation


def test_values_stay_in_the_range_of_a_scanner(healthy):
    bright = np.full(healthy.scan.grid, 9000, np.float32)
    assert scan_voxels(bright, healthy.scan).max() == 3071
    assert scan_voxels(-bright, healthy.scan).min() == -1024
