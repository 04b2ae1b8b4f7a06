"""Indices, surfaces and DVH objects of real exports: consistent, and against random points."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from scipy.ndimage import map_coordinates

from cordgap.dicom.compat import provide_read_file
from cordgap.dicom.read import read_case
from cordgap.dvh.dose_surface import compute_dose_surface
from cordgap.dvh.indices import compute_indices
from cordgap.dvh.isodose import isodose_volume
from cordgap.dvh.presets import Rules, compute_under
from cordgap.export.rtdose import write_dvh_dose


@pytest.fixture(scope="module")
def breast(shared_data):
    folder = shared_data / "real" / "dicompyler_breast"
    return read_case(
        rtstruct=folder / "rtss.dcm",
        rtdose=folder / "rtdose.dcm",
        wanted=["Heart", "Tumor Bed", "Breast"],
        with_image=False,
    )


@pytest.mark.parametrize("dose_gy", [2.0, 7.0, 12.0])
def test_isodose_volume_against_random_points(breast, dose_gy):
    """Points thrown into the box of the isodose, trilinear dose: right to four standard errors."""
    values, spacing = breast.dose.values, breast.dose.geometry.spacing_mm
    hit = np.argwhere(values >= dose_gy)
    low, high = np.maximum(hit.min(axis=0) - 1, 0), hit.max(axis=0) + 1
    high = np.minimum(high, np.array(values.shape) - 1)
    box_cc = float(np.prod(high - low) * np.prod(spacing)) / 1000
    points = low + np.random.default_rng(7).random((400_000, 3)) * (high - low)
    share = float((map_coordinates(values, points.T, order=1) >= dose_gy).mean())
    error = box_cc * np.sqrt(share * (1 - share) / len(points))
    found = isodose_volume(breast.dose, dose_gy).total_cc
    assert found == pytest.approx(box_cc * share, abs=4 * error)
    assert error < 3e-3 * found


def test_indices_hang_together(breast):
    structure = breast.structure("Tumor Bed")
    rules = Rules()
    result = rules.compute(breast.dose, structure)
    solid = rules.solid(structure)
    whole = isodose_volume(breast.dose, 10.0, target=solid)
    assert 0 < whole.connected_cc <= whole.total_cc
    found = compute_indices(result, solid, breast.dose, geud_a=1.0)
    assert found.geud.value == pytest.approx(result.dvh.mean_gy, rel=1e-5)
    assert found.near_min.value.value < result.dvh.mean_gy < found.near_max.value.value


def test_surface_of_a_heart_is_larger_than_that_of_a_ball(breast):
    structure = breast.structure("Heart")
    solid = Rules().solid(structure)
    found = compute_dose_surface(solid, breast.dose)
    ball = 4 * np.pi * (3 * solid.volume_mm3 / (4 * np.pi)) ** (2 / 3) / 100
    assert 1.0 < found.total_area_cm2 / ball < 1.8
    # What lies on the surface cannot be hotter than the body.
    highest = Rules().compute(breast.dose, structure, uncertainty=False).dvh.max_gy
    assert found.dose_gy[-1] <= highest + 1e-3


def test_dvh_object_is_read_by_dicompyler(breast, tmp_path):
    results = compute_under(breast, Rules(), uncertainty=False)
    path = tmp_path / "dvh.dcm"
    left = write_dvh_dose(breast, results, path)
    provide_read_file()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from dicompylercore import dicomparser

        found = dicomparser.DicomParser(str(path)).GetDVHs()
        kept = [r for r in results if r.structure.roi_name not in left]
        assert set(found) == {r.structure.roi_number for r in kept}
        for result in kept:
            dvh = found[result.structure.roi_number]
            assert dvh.volume == pytest.approx(result.volume_cc, rel=1e-6)
            assert dvh.mean == pytest.approx(result.dvh.mean_gy, abs=0.02)
