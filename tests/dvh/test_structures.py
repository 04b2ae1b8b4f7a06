"""Every status that a structure can have, and that none comes with a number that it has not."""

from __future__ import annotations

import numpy as np
import pytest

from cordgap.case.grid import DoseGrid, GridGeometry
from cordgap.case.structure import structure_from_contours
from cordgap.dvh.metrics import parse_metric
from cordgap.dvh.solid import build_solid
from cordgap.dvh.structures import compute_structure
from cordgap.errors import StructureError

MEAN = parse_metric("Mean[Gy]")


def box(z, half=4.0, at=0.0):
    corners = [(at - half, -half), (at + half, -half), (at + half, half), (at - half, half)]
    return np.array([(x, y, z) for x, y in corners])


def solid_box(at=0.0):
    return structure_from_contours(1, "Box", [box(float(z), at=at) for z in range(-8, 9, 2)])


def dose():
    axis = np.arange(-20.0, 21.0, 2.0)
    geometry = GridGeometry(axis, axis, axis)
    _, _, x = np.meshgrid(axis, axis, axis, indexing="ij")
    return DoseGrid.from_array(geometry, 10.0 + 0.1 * x)


def of(structure, field=None, build=build_solid):
    found = compute_structure(field, structure, build, metrics=(MEAN,), uncertainty=False)
    return found, found.metrics["Mean[Gy]"]


def test_ok():
    found, mean = of(solid_box(), dose())
    assert (found.status, found.reason) == ("ok", None)
    # 8 x 8 mm and nine planes with half a slice at both ends.
    assert found.volume_cc == pytest.approx(0.064 * 18)
    assert mean.value == pytest.approx(10.0)


def test_the_uncertainty_is_left_out_where_nobody_asked_for_it():
    _, mean = of(solid_box(), dose())
    assert mean.plus_minus is None
    asked = compute_structure(dose(), solid_box(), build_solid, metrics=(MEAN,))
    assert asked.metrics["Mean[Gy]"].plus_minus > 0
    assert asked.metrics["Mean[Gy]"].value == mean.value


def test_without_a_dose_there_is_a_volume_alone():
    found, mean = of(solid_box())
    assert (found.status, found.reason, found.dvh) == ("ok", "no dose", None)
    assert found.volume_cc == pytest.approx(0.064 * 18)
    assert (mean.value, mean.reason) == (None, "no dose")


def test_empty():
    found, mean = of(structure_from_contours(1, "Nothing", []), dose())
    assert (found.status, found.volume_cc, found.dvh) == ("empty", None, None)
    assert mean.value is None and mean.reason == found.reason


def test_a_solid_that_cannot_be_built_is_unsupported():
    def fail(structure):
        raise StructureError("Box: tangled")

    found, mean = of(solid_box(), dose(), fail)
    assert (found.status, found.reason) == ("unsupported", "Box: tangled")
    assert (found.volume_cc, mean.value, mean.reason) == (None, None, "Box: tangled")


def test_outside_the_dose_grid():
    found, mean = of(solid_box(at=60.0), dose())
    assert found.status == "outside dose grid"
    assert found.reason == "the structure lies outside the dose grid"
    assert found.volume_cc == pytest.approx(0.064 * 18)
    assert mean.value is None


def test_partly_outside_the_dose_grid():
    found, _ = of(solid_box(at=20.0), dose())
    assert found.status == "partly outside dose grid"
    assert found.reason == "50.0 % of the volume lies inside the dose grid"
