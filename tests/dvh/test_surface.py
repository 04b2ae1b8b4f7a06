"""The sampled surface: signed distances and inside or outside, against closed forms."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from cordgap.case.structure import structure_from_contours
from cordgap.dvh.planes import inside_rings, lattice_inside
from cordgap.dvh.solid import build_solid
from cordgap.dvh.surface import contains, surface_of

SEEDED = settings(derandomize=True, deadline=None, max_examples=20)
# What the flat patches of 0.25 mm are right to on bodies that bend over millimetres, with what
# the contours leave open: 180-gons of radius 12 mm lie up to 0.002 mm inside the circle.
SURFACE_MM = 0.03


def ring(points, z):
    return np.c_[points, np.full(len(points), z)]


def circle(radius, centre=(0.0, 0.0), n=360):
    t = 2 * np.pi * (np.arange(n) + 0.3) / n
    return np.array(centre) + radius * np.c_[np.cos(t), np.sin(t)]


def square(half):
    return half * np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)], float)


def solid_of(contours, **how):
    return build_solid(structure_from_contours(1, "ROI", contours), **how)


def cylinder(radius=5.0, tilt=(0.0, 0.0), half=15.0, spacing=1.5):
    z = np.arange(-half + spacing / 2, half, spacing)
    return solid_of([ring(circle(radius, (tilt[0] * v, tilt[1] * v)), float(v)) for v in z])


@cache
def straight():
    return surface_of(cylinder())


@SEEDED
@given(seed=st.integers(0, 2**31))
def test_cylinder_side_and_ends(seed):
    """Outside: distance to a cylinder of finite length; inside: to side or end, negative."""
    points = np.random.default_rng(seed).uniform((-9, -9, -19), (9, 9, 19), (500, 3))
    side, end = np.hypot(points[:, 0], points[:, 1]) - 5, np.abs(points[:, 2]) - 15
    outside = np.hypot(np.maximum(side, 0), np.maximum(end, 0))
    exact = np.where((side > 0) | (end > 0), outside, np.maximum(side, end))
    # Beyond both side and end the nearest point is on the rim, an edge: there the distance is to
    # the nearest sample, which is up to half a step of 0.25 mm off along each face.
    rim = (side > -0.25) & (end > -0.25)
    error = np.abs(straight().distance_mm(points) - exact)
    assert error[~rim].max() <= SURFACE_MM
    assert error[rim].max() <= 0.18


@pytest.mark.parametrize("tilt", [(0.27, 0.05), (0.0, -0.4)])
def test_tilted_cylinder(tilt):
    """An axial circle on a leaning axis: far from the ends, the nearest point by brute force."""
    surface = surface_of(cylinder(tilt=tilt))
    rng = np.random.default_rng(5)
    z = rng.uniform(-5, 5, 300)
    angle, away = rng.uniform(0, 2 * np.pi, 300), rng.uniform(2, 9, 300)
    x = tilt[0] * z + away * np.cos(angle)
    y = tilt[1] * z + away * np.sin(angle)
    points = np.c_[x, y, z]
    level = np.linspace(-10, 10, 4001)
    centres = np.c_[tilt[0] * level, tilt[1] * level]
    exact = np.empty(300)
    for i, p in enumerate(points):
        in_plane = np.abs(np.hypot(*(p[:2] - centres).T) - 5.0)
        exact[i] = np.hypot(in_plane, p[2] - level).min()
    exact[away < 5] *= -1
    assert np.abs(surface.distance_mm(points) - exact).max() <= SURFACE_MM


def test_sphere():
    """Planes every 0.5 mm; near the poles the flat caps of the stack stand off the sphere."""
    radius = 12.0
    z = np.arange(-radius + 0.25, radius, 0.5)
    solid = solid_of([ring(circle(np.sqrt(radius**2 - v * v)), float(v)) for v in z])
    points = np.random.default_rng(3).normal(size=(800, 3))
    points *= (np.random.default_rng(4).uniform(7, 17, 800) / np.linalg.norm(points, axis=1))[
        :, None
    ]
    away = np.linalg.norm(points, axis=1)
    equator = np.abs(points[:, 2]) < 0.75 * away
    error = np.abs(surface_of(solid).distance_mm(points) - (away - radius))
    # The chord of a 0.5 mm step lies up to 0.5^2 / (8 r) / cos^3 = 0.01 mm inside at 49 degrees.
    assert error[equator].max() <= SURFACE_MM


def test_hole_has_a_surface_too():
    """Inside the hole of a ring one is outside, as far as the nearer wall."""
    z = 1.5 * np.arange(16)
    ring_solid = solid_of([ring(c, float(v)) for v in z for c in (circle(12.0), circle(6.0))])
    x = np.array([0.0, 3.0, 5.5, 6.5, 9.0, 11.0, 13.0])
    points = np.c_[x, np.zeros(7), np.full(7, 11.25)]
    exact = [6.0, 3.0, 0.5, -0.5, -3.0, -1.0, 1.0]
    np.testing.assert_allclose(surface_of(ring_solid).distance_mm(points), exact, atol=SURFACE_MM)


def test_box_faces_of_an_extrusion():
    solid = solid_of([ring(square(5), z) for z in (0.0, 3.0, 6.0)], between="slab")
    surface = surface_of(solid)
    points = np.array([(0, 0, 8.5), (0, 0, -3.0), (1, 2, 6.5), (8, 1, 3), (0, 0, 3)])
    # Steps between slabs of the same outline are no faces: the last point is 4.5 from the ends.
    np.testing.assert_allclose(
        surface.distance_mm(points), [1.0, 1.5, -1.0, 3.0, -4.5], atol=SURFACE_MM
    )


def test_step_between_different_extrusions_is_a_face():
    solid = solid_of([ring(square(h), z) for h, z in ((8, 0), (8, 3), (3, 6), (3, 9))],
                     between="slab")  # fmt: skip
    distance = surface_of(solid).distance_mm(np.array([(6.0, 0, 5.5), (6.0, 0, 3.5), (0, 0, 4.5)]))
    # The ledge is at z = 4.5; the last point lies in the middle of it, inside, 3 mm off its rim.
    np.testing.assert_allclose(distance, [1.0, -1.0, -3.0], atol=SURFACE_MM)


def test_beyond_the_limit_is_infinite():
    points = np.array([(5.5, 0, 0), (9.0, 0, 0), (0, 0, 0), (50, 50, 50)])
    distance = straight().distance_mm(points, limit_mm=2.0)
    assert distance[0] == pytest.approx(0.5, abs=SURFACE_MM)
    assert distance[1:].tolist() == [np.inf, -np.inf, np.inf]


def test_normals_point_outwards():
    ahead = straight().points_mm + 0.05 * straight().normals
    behind = straight().points_mm - 0.05 * straight().normals
    assert not contains(straight().solid, ahead).any()
    assert contains(straight().solid, behind).all()
    np.testing.assert_allclose(np.linalg.norm(straight().normals, axis=1), 1.0, atol=1e-9)


def test_a_vertex_drawn_twice_has_no_normal_and_does_no_harm():
    """The edge between the two has no direction; a rounded end shrinks both in one place."""
    twice = np.repeat(circle(5.0, n=40), [2] + [1] * 39, axis=0)
    solid = solid_of([ring(twice, z) for z in (0.0, 2.0, 4.0)], ends="rounded")
    surface = surface_of(solid)
    assert np.isfinite(surface.normals).all()
    near = surface.nearest(np.array([[7.0, 0.0, 2.0]]))[0]
    assert near == pytest.approx([2.0], abs=0.05)  # chords of 40 vertices lie up to 0.02 mm inside


def test_range_of_levels():
    part = surface_of(straight().solid, z_range_mm=(-3.0, 3.0))
    assert part.points_mm[:, 2].min() >= -3.0 - 1.5  # whole layers of 1.5 mm
    assert part.points_mm[:, 2].max() <= 3.0 + 1.5
    probe = np.array([(7.0, 0, 0)])
    assert part.distance_mm(probe) == pytest.approx(straight().distance_mm(probe), abs=1e-9)


# --- contains ---


@SEEDED
@given(seed=st.integers(0, 2**31), between=st.sampled_from(["shape", "slab"]))
def test_contains_agrees_with_shapely(seed, between):
    """A prism is its outline times a range of z; points by the outline (0.01 mm) are left out."""
    import shapely

    rng = np.random.default_rng(seed)
    n = int(rng.integers(5, 12))
    angle = np.sort(rng.uniform(0, 2 * np.pi, n) * 0.2 + np.arange(n) * 2 * np.pi * 0.8 / n)
    outline = np.c_[np.cos(angle), np.sin(angle)] * rng.uniform(3, 9, n)[:, None]
    polygon = shapely.Polygon(outline)
    if not polygon.is_valid:
        return
    solid = solid_of([ring(outline, z) for z in (0.0, 2.0, 4.0, 6.0)], between=between)
    points = rng.uniform((-9, -9, -2), (9, 9, 8), (800, 3))
    # A loft meets a polygon at 180 angles: corners of a 9 mm shape are cut by up to 0.2 mm.
    margin = 0.2 if between == "shape" else 0.01
    near = shapely.distance(polygon.boundary, shapely.points(points[:, :2])) < margin
    expected = shapely.contains_xy(polygon, points[:, :2]) & (np.abs(points[:, 2] - 3) < 4)
    assert (contains(solid, points)[~near] == expected[~near]).all()


@SEEDED
@given(seed=st.integers(0, 2**31))
def test_contains_a_leaning_tube(seed):
    tilt = np.array([0.3, -0.2])
    points = np.random.default_rng(seed).uniform((-12, -12, -18), (12, 12, 18), (800, 3))
    away = np.hypot(*(points[:, :2] - points[:, 2:] * tilt).T) - 5.0
    clear = (np.abs(away) > 0.005) & (np.abs(np.abs(points[:, 2]) - 15) > 1e-6)
    expected = (away < 0) & (np.abs(points[:, 2]) < 15)
    assert (contains(cylinder(tilt=tilt), points)[clear] == expected[clear]).all()


def test_contains_a_rounded_end():
    """The cap shrinks to nothing over half a slice: radius r sqrt(1 - u^2)."""
    solid = solid_of([ring(circle(5.0), z) for z in (0.0, 3.0, 6.0)], ends="rounded")
    u = np.linspace(0.05, 0.95, 10)
    radius = 5 * np.sqrt(1 - u * u)
    z = 6 + 1.5 * u
    zero = np.zeros(10)
    assert contains(solid, np.c_[radius - 0.02, zero, z]).all()
    assert not contains(solid, np.c_[radius + 0.02, zero, z]).any()


def test_nothing_is_contained_in_a_gap():
    solid = solid_of([ring(square(5), z) for z in (0.0, 3, 6, 15, 18, 21)])
    z = np.array([7.4, 7.6, 10.0, 13.4, 13.6])
    inside = contains(solid, np.c_[np.zeros(5), np.zeros(5), z])
    assert inside.tolist() == [True, False, False, False, True]


@given(
    st.lists(st.integers(3, 9), min_size=1, max_size=3),
    st.integers(0, 2**32 - 1),
    st.floats(0.2, 1.5),
)
def test_a_lattice_is_inside_where_its_points_are(sizes, seed, step):
    """Row by row and point by point are the same even-odd rule, on edges and vertices too."""
    rng = np.random.default_rng(seed)
    rings = [np.round(rng.uniform(-4, 4, (n, 2)), 1) for n in sizes]
    x, y = np.arange(-5.0, 5.0, step), np.arange(-4.5, 4.5, step)
    xx, yy = np.meshgrid(x, y)
    expected = inside_rings(rings, np.c_[xx.ravel(), yy.ravel()]).reshape(xx.shape)
    found = lattice_inside(rings, x, y)
    # Where a point lies on an edge to rounding, either side is right.
    near = np.zeros(xx.size, dtype=bool)
    for ring in rings:
        edges = shapely.linearrings(ring)
        near |= shapely.distance(edges, shapely.points(xx.ravel(), yy.ravel())) < 1e-9
    assert (found == expected)[~near.reshape(xx.shape)].all()


def test_many_points_are_measured_as_few_are():
    """Between the nodes of a lattice far away, one by one near by."""
    rng = np.random.default_rng(5)
    points = rng.uniform((-25, -25, -20), (25, 25, 30), (40_000, 3))
    surface = straight()
    parts = [surface.distance_mm(p, limit_mm=11.0) for p in np.split(points, 4)]
    one_by_one = np.concatenate(parts)
    together = surface.distance_mm(points, limit_mm=11.0)
    known = np.isfinite(one_by_one) & np.isfinite(together)
    assert known.sum() > 5_000
    near = known & (one_by_one < 3.0 - np.sqrt(3.0))
    np.testing.assert_array_equal(together[near], one_by_one[near])
    # Beside the rim of a flat end it bends most: (1 / 3 mm + 1 / 8 mm) of 1 mm squared over 8.
    error = np.abs(together[known] - one_by_one[known])
    assert error.max() <= 0.06 + SURFACE_MM
    assert np.median(error) <= 0.01
    # Only at the limit itself may one know what the other calls too far.
    differ = np.isfinite(one_by_one) != np.isfinite(together)
    assert np.fmin(one_by_one, together)[differ].min(initial=11.0) > 10.9
    assert np.array_equal(np.isneginf(one_by_one), np.isneginf(together))


def test_points_far_apart_need_no_lattice():
    """A few clusters kilometres apart: as many bytes as points, not as space between them."""
    rng = np.random.default_rng(6)
    near = rng.uniform(-20, 20, (10_500, 3))
    points = np.concatenate([near, near + np.array([1e6, -1e6, 1e6])])
    found = straight().distance_mm(points)
    np.testing.assert_allclose(found[:10_500], straight().distance_mm(near), atol=1e-9)
    assert (found[10_500:] > 1e6).all()


def test_beyond_a_solid_there_is_no_surface():
    t = 2 * np.pi * np.arange(40) / 40
    contours = [np.c_[4 * np.cos(t), 4 * np.sin(t), np.full(40, z)] for z in (0.0, 3.0, 6.0)]
    solid = build_solid(structure_from_contours(1, "ROI", contours))
    found = surface_of(solid, z_range_mm=(20.0, 30.0))
    assert found.points_mm.shape == found.normals.shape == (0, 3)
    assert found.step_mm == surface_of(solid).step_mm
