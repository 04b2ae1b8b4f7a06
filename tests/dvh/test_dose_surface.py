"""Dose-surface histograms against closed forms."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cordgap.case.grid import DoseGrid, GridGeometry
from cordgap.case.structure import structure_from_contours
from cordgap.dvh.dose_surface import DoseSurface, compute_dose_surface, surface_patches
from cordgap.dvh.solid import build_solid
from cordgap.errors import OutOfRangeError
from cordgap.phantom import CordShape, LinearDose, Sampling, cord_in_linear_dose, sphere
from cordgap.phantom.shapes import SphereShape, at_height, circle

# Circles of 180 vertices: the polygon is 5e-5 shorter, and its area 2e-4 smaller.
FINE = Sampling(vertices=180)
POLYGON = 3e-4
RADIUS, LENGTH = 5.0, 48.0
BOTH = pytest.mark.parametrize("between", ["shape", "slab"])


def tube(radius_of, levels, n=180, centre=(0.37, -0.61)):
    rings = [at_height(circle(*centre, radius_of(z), n), float(z)) for z in levels]
    return structure_from_contours(1, "SpinalCord", rings)


def dose_of(solid, gradient=(0.0, 0.0, 0.0), margin_mm=5.0):
    """A linear dose, 50 Gy at the origin, that trilinear interpolation meets exactly."""
    lower, upper = solid.bounds_mm
    x, y, z = (
        np.arange(lo - margin_mm, hi + margin_mm + 2, 2.0)
        for lo, hi in zip(lower, upper, strict=True)
    )
    zz, yy, xx = np.meshgrid(z, y, x, indexing="ij")
    gx, gy, gz = gradient
    values = 50.0 + gx * xx + gy * yy + gz * zz
    return DoseGrid.from_array(GridGeometry(x, y, z), values)


@BOTH
def test_cylinder_across_the_gradient(between):
    case = cord_in_linear_dose(dose=LinearDose(40.0, (0.0, -1.5, 0.0)), sampling=FINE)
    found = compute_dose_surface(build_solid(case.structures[0], between=between), case.dose)
    disc = np.pi * RADIUS**2
    assert found.flat_area_cm2 == pytest.approx(2 * disc / 100, rel=POLYGON)
    side = 2 * np.pi * RADIUS * LENGTH
    assert found.total_area_cm2 == pytest.approx((side + 2 * disc) / 100, rel=POLYGON)
    assert found.is_complete
    for distance in (-4.0, -1.0, 0.0, 2.5, 4.5):
        half_angle = np.arccos(distance / RADIUS)
        arc = 2 * half_angle * RADIUS * LENGTH
        segment = RADIUS**2 * half_angle - distance * np.sqrt(RADIUS**2 - distance**2)
        exact = (arc + 2 * segment) / 100
        # One patch of 0.17 mm more or less on each side of the isodose.
        assert found.area_at_least_cm2(40.0 + 1.5 * distance) == pytest.approx(exact, abs=0.02)


@BOTH
def test_cylinder_along_the_gradient(between):
    case = cord_in_linear_dose(dose=LinearDose(40.0, (0.0, 0.0, 1.0)), sampling=FINE)
    found = compute_dose_surface(build_solid(case.structures[0], between=between), case.dose)
    # The hottest 1 cm2 is the hot end (78.5 mm2) and 0.68 mm of the side.
    below = (100.0 - np.pi * RADIUS**2) / (2 * np.pi * RADIUS)
    assert found.dose_of_hottest_gy(1.0) == pytest.approx(40.0 + 24.0 - below, abs=0.02)
    assert found.dose_of_hottest_gy(0.5) == pytest.approx(64.0, abs=1e-6)


def test_sphere_in_linear_dose():
    """Archimedes: the area beyond a plane is linear in its height."""
    radius = 12.0
    case = sphere(
        shape=SphereShape(radius),
        dose=LinearDose(40.0, (0.0, -1.5, 0.0)),
        sampling=Sampling(plane_spacing_mm=0.5, vertices=180),
    )
    found = compute_dose_surface(build_solid(case.structures[0]), case.dose)
    # The caps are flat discs of 0.25 mm height in place of round ones of the same height.
    assert found.total_area_cm2 == pytest.approx(4 * np.pi * radius**2 / 100, rel=6e-3)
    for height in (0.0, 4.0, 8.0):
        exact = 2 * np.pi * radius * (radius - height) / 100
        assert found.area_at_least_cm2(40.0 + 1.5 * height) == pytest.approx(exact, rel=6e-3)


def test_area_of_a_sphere_converges_with_the_planes():
    exact = 4 * np.pi * 12.0**2
    errors = []
    for spacing in (2.0, 1.0, 0.5):
        case = sphere(sampling=Sampling(plane_spacing_mm=spacing, vertices=180))
        errors.append(surface_patches(build_solid(case.structures[0]), 0.25)[1].sum() - exact)
    # Closing caps leave little: 0.14 % of 1810 mm2 on planes of 2 mm, and less on finer ones.
    assert abs(errors[0]) < 1.5e-3 * exact
    assert all(abs(b) < 0.85 * abs(a) for a, b in itertools.pairwise(errors))


@pytest.mark.parametrize("tilt", [0.2, 0.5])
def test_leaning_cylinder(tilt):
    shape = CordShape(tilt=(tilt, 0.0))
    case = cord_in_linear_dose(cord=shape, sampling=FINE)
    _, areas, flat = surface_patches(build_solid(case.structures[0]), 0.25)
    angle = np.linspace(0, 2 * np.pi, 20_000, endpoint=False)
    side = LENGTH * RADIUS * np.mean(np.sqrt(1 + (tilt * np.cos(angle)) ** 2)) * 2 * np.pi
    assert areas.sum() == pytest.approx(side + 2 * np.pi * RADIUS**2, rel=POLYGON)
    assert flat == pytest.approx(2 * np.pi * RADIUS**2, rel=POLYGON)


def test_cone():
    def radius_of(z):
        # Squared radii that are linear in z, as a loft has them between any two planes.
        return float(np.sqrt(16.0 + 2.0 * z))

    structure = tube(radius_of, np.arange(0.0, 21.0, 1.0))
    _, areas, flat = surface_patches(build_solid(structure, ends="none"), 0.25)
    # Paraboloid r**2 = 16 + 2 z: 2 pi int sqrt(r**2 + (r r')**2) dz with r r' = 1.
    side = 2 * np.pi / 3 * ((16 + 40 + 1) ** 1.5 - 17**1.5)
    assert areas.sum() - flat == pytest.approx(side, rel=POLYGON)
    assert flat == pytest.approx(np.pi * (16 + 56), rel=POLYGON)


def test_rounded_caps_of_half_a_sphere():
    structure = tube(lambda z: 4.0, [0.0, 8.0])
    solid = build_solid(structure, between="slab", ends="rounded")
    points, areas, flat = surface_patches(solid, 0.25)
    assert flat == 0.0
    # Rings of 0.25 mm on a curvature of 4 mm: chords are 1.6e-4 shorter than arcs.
    exact = 2 * np.pi * 4 * 8 + 4 * np.pi * 16
    assert areas.sum() == pytest.approx(exact, rel=POLYGON + 1.6e-4)
    above = points[:, 2] > 8.0
    # Archimedes again: half of a half-sphere lies above half of its height.
    upper = areas[points[:, 2] > 10.0].sum()
    assert upper == pytest.approx(0.5 * areas[above].sum(), rel=0.02)


def test_steps_between_slabs_have_the_area_of_the_ring_between_them():
    structure = tube(lambda z: 4.0 if z < 10 else 7.0, [0.0, 4.0, 8.0, 12.0, 16.0])
    solid = build_solid(structure, between="slab", ends="none")
    _, areas, flat = surface_patches(solid, 0.25)
    ends, step = np.pi * (16 + 49), np.pi * (49 - 16)
    assert flat == pytest.approx(ends + step, rel=POLYGON)
    assert areas.sum() == pytest.approx(ends + step + 2 * np.pi * (4 * 10 + 7 * 6), rel=POLYGON)


def test_a_hole_has_an_inner_surface():
    rings = [
        at_height(circle(0.0, 0.0, r, 180), float(z)) for z in (0.0, 3.0, 6.0) for r in (4.0, 9.0)
    ]
    solid = build_solid(structure_from_contours(1, "CTV", rings))
    _, areas, flat = surface_patches(solid, 0.25)
    assert flat == pytest.approx(2 * np.pi * (81 - 16), rel=POLYGON)
    assert areas.sum() - flat == pytest.approx(2 * np.pi * 13 * 9, rel=POLYGON)


def test_partly_outside_the_grid():
    solid = build_solid(tube(lambda z: 5.0, np.arange(-20.0, 21.0, 2.0)))
    whole = dose_of(solid)
    geometry = whole.geometry
    upper = geometry.z_mm >= 0
    part = DoseGrid.from_array(
        GridGeometry(geometry.x_mm, geometry.y_mm, geometry.z_mm[upper]), whole.values[upper]
    )
    full, half = compute_dose_surface(solid, whole), compute_dose_surface(solid, part)
    assert not half.is_complete
    assert half.total_area_cm2 == pytest.approx(full.total_area_cm2)
    # The first plane of the grid lies at 0 or 2 mm: less than half, and more than 0.8 of it.
    assert 0.4 < half.covered_area_cm2 / full.total_area_cm2 < 0.51
    flat = DoseGrid.from_array(
        GridGeometry(geometry.x_mm, geometry.y_mm, np.zeros(1)), whole.values[:1]
    )
    assert compute_dose_surface(solid, flat).covered_area_cm2 == 0


def test_cap_just_beyond_the_grid_is_held_as_for_volumes():
    solid = build_solid(tube(lambda z: 5.0, np.arange(-20.0, 21.0, 2.0)))
    whole = dose_of(solid, (0.0, 0.0, 1.0))
    x, y = whole.geometry.x_mm, whole.geometry.y_mm
    z = np.arange(-20.0, 21.0, 2.0)
    values = np.broadcast_to(50.0 + z[:, None, None], (z.size, y.size, x.size))
    tight = DoseGrid.from_array(GridGeometry(x, y, z), values)
    found = compute_dose_surface(solid, tight)
    assert found.is_complete
    assert found.dose_gy[-1] == pytest.approx(70.0)


def test_more_than_there_is():
    solid = build_solid(tube(lambda z: 5.0, np.arange(-4.0, 5.0, 2.0)))
    found = compute_dose_surface(solid, dose_of(solid))
    with pytest.raises(OutOfRangeError, match="inside the dose grid"):
        found.dose_of_hottest_gy(100.0)
    with pytest.raises(OutOfRangeError, match="hottest 0 cm2"):
        found.dose_of_hottest_gy(0.0)


@settings(max_examples=15, deadline=None)
@given(
    gradient=st.tuples(*[st.floats(-1, 1)] * 3),
    factor=st.floats(0.2, 3),
    radius=st.floats(2, 8),
)
def test_properties(gradient, factor, radius):
    """Falling curve, whole area at no dose, doses scale, area does not know the dose."""
    solid = build_solid(tube(lambda z: radius, np.arange(-6.0, 7.0, 3.0), n=40))
    dose = dose_of(solid, gradient)
    scaled = DoseGrid.from_array(dose.geometry, factor * dose.values)
    found = compute_dose_surface(solid, dose, patch_mm=1.0)
    other = compute_dose_surface(solid, scaled, patch_mm=1.0)
    assert isinstance(found, DoseSurface)
    edges, areas = found.resample(0.5)
    assert areas[0] == pytest.approx(found.total_area_cm2)
    assert areas[-1] == 0
    assert (np.diff(areas) <= 0).all()
    assert edges[1] == 0.5
    assert other.total_area_cm2 == found.total_area_cm2
    np.testing.assert_allclose(other.dose_gy, factor * found.dose_gy, rtol=1e-9)


def test_points_on_straight_edges_change_no_area():
    """24 edges of 1.04 mm are cut into five patches; as five edges each they are the same ones."""
    corners = circle(0.37, -0.61, 4.0, 24)
    share = np.arange(5)[None, :, None] / 5
    finer = (corners[:, None] + share * (np.roll(corners, -1, axis=0) - corners)[:, None]).reshape(
        -1, 2
    )
    totals = []
    for ring in (corners, finer):
        contours = [at_height(ring, z) for z in (0.0, 8.0)]
        solid = build_solid(
            structure_from_contours(1, "ROI", contours), between="slab", ends="rounded"
        )
        points, areas, _ = surface_patches(solid, 0.25)
        totals.append(areas.sum())
        assert np.isfinite(points).all()
    # The height of the caps is the mean radius of the outline, which the points on edges change.
    assert totals[0] == pytest.approx(totals[1], rel=1e-3)
