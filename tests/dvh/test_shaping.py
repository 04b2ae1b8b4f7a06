"""Bodies that close: caps and sides against closed forms, and which bodies are left as cut."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cordgap.case.structure import structure_from_contours
from cordgap.dvh.solid import build_solid
from cordgap.dvh.surface import contains, surface_of

SEEDED = settings(derandomize=True, deadline=None, max_examples=25)
N = 120
# What a polygon with N vertices holds of its circle or ellipse.
POLYGON = np.sin(2 * np.pi / N) / (2 * np.pi / N)
# Sides are chords within 0.1 % of the radius of their curve: less than 0.2 % of the volume; the cap
# is six chords.
VOLUME = 4e-3


def ring(half, centre, z):
    t = 2 * np.pi * (np.arange(N) + 0.3) / N
    points = np.column_stack([half[0] * np.cos(t), half[1] * np.sin(t)]) + np.array(centre)
    return np.column_stack([points, np.full(N, z)])


def solid_of(contours, **how):
    return build_solid(structure_from_contours(1, "ROI", contours), **how)


def ellipsoid(half, spacing, phase=0.5, lean=(0.0, 0.0), **how):
    """Planes from a phase on; the centre moves with z by ``lean``."""
    z = -half[2] + spacing * (np.arange(200) + phase)
    contours = []
    for level in z[z < half[2] - 1e-6]:
        width = np.sqrt(1 - (level / half[2]) ** 2)
        centre = (lean[0] * level, lean[1] * level)
        contours.append(ring((half[0] * width, half[1] * width), centre, level))
    return solid_of(contours, **how)


@SEEDED
@given(
    a=st.floats(5, 15), b=st.floats(5, 15), c=st.floats(6, 20), phase=st.floats(0.05, 0.99),
    spacing=st.floats(1.0, 3.0), lean=st.tuples(st.floats(-0.3, 0.3), st.floats(-0.3, 0.3)),
)  # fmt: skip
def test_an_ellipsoid_at_any_phase(a, b, c, phase, spacing, lean):
    """Squared widths are parabolas in z: cap and sides are the ellipsoid's own."""
    solid = ellipsoid((a, b, c), spacing, phase, lean)
    assert solid.closes
    exact = POLYGON * 4 / 3 * np.pi * a * b * c
    assert solid.volume_mm3 == pytest.approx(exact, rel=VOLUME)
    # The tip is found on a thousandth of the spacing.
    np.testing.assert_allclose(solid.z_range_mm, (-c, c), atol=2e-3 * spacing)


def test_plain_half_slices_of_the_same_planes_depend_on_the_phase():
    """Why: with flat caps a 10 mm sphere on 3 mm planes is off by more than 2 %."""
    exact = 4 / 3 * np.pi * 5**3 * POLYGON
    phases = np.linspace(0.05, 0.95, 10)
    flat, closing = (
        [ellipsoid((5, 5, 5), 3.0, p, ends=ends).volume_mm3 / exact - 1 for p in phases]
        for ends in ("flat", "half-slice")
    )
    assert max(map(abs, flat)) > 0.02
    assert max(map(abs, closing)) < VOLUME


@pytest.mark.parametrize("angle", [0.0, 0.4, 1.2])
@pytest.mark.parametrize("phase", [0.5, 0.9])
def test_a_cylinder_that_lies_across_the_planes(phase, angle):
    """Rectangles, one side of which shrinks: the cap is a ridge, at any angle in the plane."""
    radius, length, spacing = 10.0, 30.0, 2.0
    z = -radius + spacing * (np.arange(30) + phase)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    contours = []
    for level in z[z < radius - 1e-6]:
        half = np.sqrt(radius**2 - level**2)
        y = np.linspace(-length / 2, length / 2, 61)
        outline = np.r_[np.column_stack([half + 0 * y, y]), np.column_stack([-half + 0 * y, -y])]
        contours.append(np.column_stack([outline @ turn.T, np.full(len(outline), level)]))
    solid = solid_of(contours)
    assert solid.closes
    # Radius against angle cuts the corners of a rectangle: 180 angles.
    assert solid.volume_mm3 == pytest.approx(np.pi * radius**2 * length, rel=2 * VOLUME)
    np.testing.assert_allclose(solid.z_range_mm, (-radius, radius), atol=0.01)


@pytest.mark.parametrize("phase", [0.3, 0.5, 0.8])
def test_a_cone_closes_at_its_tip_and_stays_cut_at_its_base(phase):
    """The base is flat: half of the spacing with the area of the last contour."""
    height, radius, spacing = 24.0, 12.0, 2.0
    z = spacing * (np.arange(12) + phase)
    widths = radius * (1 - z / height)
    solid = solid_of([ring((w, w), (0, 0), v) for w, v in zip(widths, z, strict=True)])
    assert solid.closes
    first = z[0] - spacing / 2
    assert solid.z_range_mm == pytest.approx((first, height), abs=0.01 * spacing)
    # The cone above the first plane, and the half-slice below it.
    exact = POLYGON * np.pi * widths[0] ** 2 * ((height - z[0]) / 3 + spacing / 2)
    assert solid.volume_mm3 == pytest.approx(exact, rel=VOLUME)


def test_a_body_that_closes_to_one_side():
    """A cone along y, cut by planes: hyperbolas whose centroids run out of the next contour."""
    radius, spacing = 12.0, 3.0
    contours = []
    for level in -radius + spacing * (np.arange(8) + 0.5):
        y = np.linspace(-radius, radius - 2 * abs(level), 60)
        half = np.sqrt(np.maximum(((radius - y) / 2) ** 2 - level**2, 0))
        outline = np.r_[np.column_stack([half, y]), np.column_stack([-half, y])[::-1]]
        contours.append(np.column_stack([outline, np.full(120, level)]))
    solid = solid_of(contours)
    assert solid.closes
    # Apart from the tip, where 60 points on a hyperbola are few.
    assert solid.volume_mm3 == pytest.approx(np.pi * radius**2 * 2 * radius / 3, rel=VOLUME)
    # Its widths are not quite parabolas: the tip is found within a fifth of the spacing.
    np.testing.assert_allclose(solid.z_range_mm, (-radius, radius), atol=0.2 * spacing)


def test_contours_beside_each_other_are_not_lofted():
    """Overlapping by less than half: neither centroid inside the other, neither contour nested."""
    contours = [ring((5, 5), (x, 0), z) for x, z in ((0, 0.0), (0, 3.0), (8, 6.0), (8, 9.0))]
    rings = solid_of(contours).section_at(4.0)
    assert rings[0][:, 0].max() == pytest.approx(5, abs=0.01)


@pytest.mark.parametrize(
    "widths",
    [
        [5.0] * 8,  # a cord
        [5.0, 5.1, 4.9, 5.2, 4.8, 5.1, 4.9, 4.6],  # drawn by hand
        list(np.linspace(6, 4, 8)),  # tapered
        [8.0, 8.0, 7.5, 7.0, 6.5, 6.0, 5.5, 5.0],  # a cone that was cut
        [2.0, 3.0, 4.0, 5.0, 6.0, 6.5, 7.0, 7.2],  # wide end up: only the lower end is asked
    ],
)
def test_what_was_cut_ends_flat(widths):
    """Half of the spacing with the area of the last contour, as with ``flat``, and no bent side."""
    contours = [ring((w, w), (0.3 * i, 0), 3.0 * i) for i, w in enumerate(widths)]
    solid, flat = solid_of(contours), solid_of(contours, ends="flat")
    assert solid.z_range_mm[1] == flat.z_range_mm[1] == 3.0 * 7 + 1.5
    if not solid.closes:
        assert solid.volume_mm3 == flat.volume_mm3
        assert len(solid.layers) == len(flat.layers) == 9


def test_a_closing_last_plane_of_two_is_not_enough():
    """Two planes say nothing about curvature."""
    solid = solid_of([ring((6, 6), (0, 0), 0.0), ring((2, 2), (0, 0), 3.0)])
    assert not solid.closes
    assert solid.z_range_mm == (-1.5, 4.5)


def test_slabs_never_close():
    solid = ellipsoid((10, 10, 10), 2.0, between="slab")
    assert not solid.closes
    assert solid.volume_mm3 == pytest.approx(
        ellipsoid((10, 10, 10), 2.0, ends="flat").volume_mm3, rel=1e-9
    )


@pytest.mark.parametrize("ends", ["none", "rounded", "flat"])
def test_other_ends_are_as_they_were(ends):
    """No closing cap, and straight lofts: their area is linear, the volume that of slabs."""
    solid = ellipsoid((10, 8, 9), 1.8, 0.7, ends=ends)
    slabs = ellipsoid((10, 8, 9), 1.8, 0.7, ends=ends, between="slab")
    assert not solid.closes
    assert solid.volume_mm3 == pytest.approx(slabs.volume_mm3, rel=1e-9)


def test_rebuilt_by_another_rule_is_the_solid_of_that_rule():
    solid = ellipsoid((10, 8, 9), 1.8, 0.7)
    for how in ({"ends": "flat"}, {"between": "slab"}, {"ends": "rounded", "between": "slab"}):
        other = ellipsoid((10, 8, 9), 1.8, 0.7, **how)
        again = solid.rebuilt(**how)
        assert again.volume_mm3 == other.volume_mm3
        assert (again.between, again.ends, again.closes) == (
            other.between, other.ends, other.closes,
        )  # fmt: skip


def test_points_are_inside_what_closes():
    """The share of random points inside is the share of the box that the solid fills."""
    solid = ellipsoid((9, 7, 8), 2.0, 0.3, (0.2, -0.1))
    lower, upper = solid.bounds_mm
    points = np.random.default_rng(4).uniform(lower, upper, (200_000, 3))
    share = contains(solid, points).mean()
    # 200,000 draws of a share of 0.44: a standard deviation of 0.0011.
    assert share == pytest.approx(solid.volume_mm3 / np.prod(upper - lower), abs=0.005)


def test_distances_to_a_closing_tip():
    """Beyond the pole of a sphere the distance is to the pole, not to a flat cap."""
    surface = surface_of(ellipsoid((9, 9, 9), 2.0, 0.8))
    outside = np.array([[0.0, 0.0, 12.0], [0.0, 0.0, -12.0], [0.0, 8.0, 10.0]])
    exact = np.linalg.norm(outside, axis=1) - 9
    # Samples 0.25 mm apart, on a cap of six chords.
    np.testing.assert_allclose(surface.distance_mm(outside), exact, atol=0.05)
