"""Solids from contour planes: volumes against closed forms, and what may not change them."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cordgap.case.structure import ContourPlane, structure_from_contours
from cordgap.dvh.planes import _crossings, clean_planes, inside_rings, may_loft
from cordgap.dvh.solid import build_solid
from cordgap.errors import StructureError

SEEDED = settings(derandomize=True, deadline=None, max_examples=40)
# Sums of a few thousand doubles.
ROUNDING = 1e-9
BETWEEN = ("shape", "slab")
Z = 3.0 * np.arange(9) - 12.0


def ring(points, z=0.0):
    return np.c_[points, np.full(len(points), z)]


def square(half=5.0, centre=(0.0, 0.0)):
    return np.array(centre) + half * np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)], float)


def polygon(radius=5.0, n=60, centre=(0.0, 0.0), phase=0.3):
    t = 2 * np.pi * (np.arange(n) + phase) / n
    return np.array(centre) + radius * np.c_[np.cos(t), np.sin(t)]


def shoelace(points):
    x, y = points.T
    return 0.5 * abs(float(x @ np.roll(y, -1) - y @ np.roll(x, -1)))


def polygon_area(radius, n=60):
    return n / 2 * radius**2 * np.sin(2 * np.pi / n)


def crescent():
    """A C, not star-shaped about its centroid: it can only be extruded."""
    t = np.linspace(-2.6, 2.6, 40)
    outer, inner = np.c_[np.cos(t), np.sin(t)] * 10, np.c_[np.cos(t), np.sin(t)] * 6
    return np.r_[outer, inner[::-1]]


def structure(contours, **how):
    return structure_from_contours(1, "ROI", contours, **how)


def solid_of(contours, **how):
    return build_solid(structure(contours), **how)


def stack(outlines, z=Z):
    return [ring(o, level) for o, level in zip(outlines, z, strict=True)]


# --- volumes ---


@pytest.mark.parametrize("between", BETWEEN)
@pytest.mark.parametrize(("ends", "length"), [("half-slice", 27.0), ("none", 24.0)])
@pytest.mark.parametrize("outline", [square(), polygon(), crescent()], ids=["box", "tube", "C"])
def test_prism(outline, ends, length, between):
    solid = solid_of([ring(outline, z) for z in Z], between=between, ends=ends)
    assert solid.volume_mm3 == pytest.approx(shoelace(outline) * length, rel=ROUNDING)
    assert solid.z_range_mm == (-length / 2, length / 2)
    assert solid.plane_range_mm == (-12.0, 12.0)
    assert solid.volume_cc == solid.volume_mm3 / 1000


@pytest.mark.parametrize("between", BETWEEN)
def test_rounded_ends_are_parabolic_caps(between):
    """Area falls as 1 - u^2 over half a slice: each cap holds 2/3 of the half-slice."""
    solid = solid_of([ring(square(), z) for z in Z], between=between, ends="rounded")
    assert solid.volume_mm3 == pytest.approx(100 * (24 + 2 * 1.5 * 2 / 3), rel=ROUNDING)


@pytest.mark.parametrize("between", BETWEEN)
@pytest.mark.parametrize("ends", ["half-slice", "none"])
def test_tapering_stack_has_the_trapezoid_volume(ends, between):
    """Area linear between planes (shape) and half to each plane (slab) sum to the same."""
    radii = np.linspace(3.0, 7.0, 9)
    area = polygon_area(radii)
    caps = 1.5 * (area[0] + area[-1]) if ends == "half-slice" else 0.0
    expected = 3.0 * (area.sum() - 0.5 * (area[0] + area[-1])) + caps
    solid = solid_of(stack([polygon(r) for r in radii]), between=between, ends=ends)
    assert solid.volume_mm3 == pytest.approx(expected, rel=ROUNDING)


@pytest.mark.parametrize("between", BETWEEN)
def test_uneven_planes(between):
    """Each plane stands for half of either neighbouring gap; the ends repeat the last gap."""
    z = np.array([0.0, 2.0, 5.0, 8.0])
    solid = solid_of([ring(square(), level) for level in z], between=between)
    assert solid.volume_mm3 == pytest.approx(100 * (8.0 + 1.0 + 1.5), rel=ROUNDING)
    assert solid.z_range_mm == (-1.0, 9.5)


@pytest.mark.parametrize("between", BETWEEN)
@pytest.mark.parametrize("reverse", [False, True], ids=["same winding", "other winding"])
def test_hole_is_the_difference(between, reverse):
    inner = polygon(3.0)[::-1] if reverse else polygon(3.0)
    outer = solid_of([ring(square(9), z) for z in Z], between=between)
    hole = solid_of([ring(inner, z) for z in Z], between=between)
    both = solid_of([c for z in Z for c in (ring(square(9), z), ring(inner, z))], between=between)
    assert both.volume_mm3 == pytest.approx(outer.volume_mm3 - hole.volume_mm3, rel=ROUNDING)
    assert not both.findings


def test_island_in_a_hole_counts_again():
    outlines = [square(12), polygon(8.0), square(3)]
    solid = solid_of([ring(o, z) for z in Z for o in outlines])
    expected = 27 * (24**2 - polygon_area(8.0) + 6**2)
    assert solid.volume_mm3 == pytest.approx(expected, rel=ROUNDING)


def test_keyhole_contour_is_a_ring():
    """A ring drawn as one contour, with a cut of no width from outside to the hole."""
    outer, inner = square(9), square(3)[::-1]
    keyhole = np.r_[outer, outer[:1], inner, inner[:1]]
    solid = solid_of([ring(keyhole, z) for z in Z])
    assert solid.volume_mm3 == pytest.approx(27 * (18**2 - 6**2), rel=ROUNDING)
    assert not solid.findings


@pytest.mark.parametrize("between", BETWEEN)
def test_split_structure_adds_up(between):
    parts = [polygon(4.0, centre=(-10, 0)), polygon(6.0, centre=(10, 0))]
    solid = solid_of([ring(p, z) for z in Z for p in parts], between=between)
    expected = 27 * (polygon_area(4.0) + polygon_area(6.0))
    assert solid.volume_mm3 == pytest.approx(expected, rel=ROUNDING)
    assert not solid.findings


def test_structure_that_splits_on_the_way():
    """One contour below, two above: extruded from either side, half of the gap each."""
    below = [ring(polygon(6.0), z) for z in (0.0, 3.0)]
    above = [ring(polygon(2.0, centre=(x, 0)), z) for z in (6.0, 9.0) for x in (-4, 4)]
    solid = solid_of([*below, *above])
    expected = polygon_area(6.0) * 6 + 2 * polygon_area(2.0) * 6
    assert solid.volume_mm3 == pytest.approx(expected, rel=ROUNDING)


def test_loft_of_a_shifted_circle_is_a_leaning_tube():
    """Between two planes the centroid moves along a straight line."""
    solid = solid_of([ring(polygon(centre=(0.5 * z, 0)), z) for z in Z])
    outline = solid.section_at(1.5)[0]
    np.testing.assert_allclose(outline.mean(axis=0), [0.75, 0], atol=1e-6)
    # 180 directions of a 60-gon, its area kept: radii between those of edge and vertex.
    radius = np.hypot(*(outline - [0.75, 0]).T)
    assert 5 * np.cos(np.pi / 60) - 1e-3 <= radius.min() <= radius.max() <= 5 + 1e-3


def test_caps_of_a_leaning_tube_go_on_leaning():
    solid = solid_of([ring(polygon(centre=(0.5 * z, 0)), z) for z in Z])
    lower, upper = solid.bounds_mm
    # The tube's axis ends at 0.5 * 13.5; bounds are the polygon's 5 mm around it.
    assert upper[0] == pytest.approx(0.5 * 13.5 + 5, abs=0.02)
    assert lower[0] == pytest.approx(-0.5 * 13.5 - 5, abs=0.02)


# --- what must not change anything ---


def same_solid(a, b):
    assert a.volume_mm3 == pytest.approx(b.volume_mm3, rel=ROUNDING)
    np.testing.assert_allclose(a.bounds_mm, b.bounds_mm, atol=1e-9)
    probe = np.random.default_rng(7).uniform(*a.bounds_mm, (400, 3))
    for z in np.linspace(*a.z_range_mm, 7)[1:-1] + 0.01:
        rings = [s.section_at(float(z)) for s in (a, b)]
        inside = [inside_rings(r, probe[:, :2]) for r in rings]
        assert (inside[0] == inside[1]).all()


OUTLINES = {"star-shaped": [square(8)], "ring": [square(9), polygon(3.0)], "C": [crescent()]}


@SEEDED
@given(data=st.data(), kind=st.sampled_from(list(OUTLINES)), between=st.sampled_from(BETWEEN))
def test_how_a_contour_was_written_changes_nothing(data, kind, between):
    """Direction, first point, repeated closing point, and the order of contours in the file."""
    plain = [ring(o, z) for z in Z for o in OUTLINES[kind]]
    written = []
    for contour in plain:
        points = contour[::-1] if data.draw(st.booleans()) else contour
        points = np.roll(points, data.draw(st.integers(0, len(points) - 1)), axis=0)
        written.append(np.r_[points, points[:1]] if data.draw(st.booleans()) else points)
    written = data.draw(st.permutations(written))
    same_solid(solid_of(written, between=between), solid_of(plain, between=between))


@pytest.mark.parametrize("between", BETWEEN)
def test_points_on_straight_edges_change_nothing(between):
    coarse = square(8)
    fine = np.concatenate(
        [np.linspace(a, b, 7)[:-1] for a, b in itertools.pairwise([*coarse, coarse[0]])]
    )
    same_solid(
        solid_of([ring(fine, z) for z in Z], between=between),
        solid_of([ring(coarse, z) for z in Z], between=between),
    )


# --- gaps, single planes ---


@pytest.mark.parametrize("between", BETWEEN)
def test_gap_is_not_bridged(between):
    z = [0.0, 3, 6, 15, 18, 21]
    solid = solid_of([ring(square(), level) for level in z], between=between)
    assert solid.volume_mm3 == pytest.approx(100 * (9 + 9), rel=ROUNDING)
    assert solid.section_at(10.0) == []
    assert [f.code for f in solid.findings] == ["contour-gap"]
    assert "z = 6.0 to 15.0 mm" in solid.findings[0].message
    assert solid.findings[0].severity == "warning"


@pytest.mark.parametrize(("factor", "bridged"), [(1.5, True), (1.7, False)])
def test_a_gap_is_bridged_up_to_1_6_spacings(factor, bridged):
    """MAX_GAP_FRACTION: a plane moved by half a spacing is drawn, a missing one (2) is not."""
    z = np.r_[0.0, 3, 6, 6 + 3 * factor + 3 * np.arange(3)]
    solid = solid_of([ring(square(), level) for level in z])
    expected = z[-1] + 3 if bridged else 9 + 9
    assert solid.volume_mm3 == pytest.approx(100 * expected, rel=ROUNDING)
    assert bool(solid.findings) is not bridged


def test_lone_plane_between_gaps_stands_for_one_spacing():
    z = [0.0, 3, 6, 15, 24, 27, 30]
    solid = solid_of([ring(square(), level) for level in z], between="slab")
    assert solid.volume_mm3 == pytest.approx(100 * (9 + 3 + 9), rel=ROUNDING)


@pytest.mark.parametrize("between", BETWEEN)
def test_change_of_spacing_is_no_gap(between):
    z = np.r_[np.arange(0, 10, 1.0), np.arange(12, 31, 3.0)]
    solid = solid_of([ring(square(), level) for level in z], between=between)
    assert not solid.findings
    covered = 100 * (z[-1] - z[0] + 0.5 + 1.5)
    assert solid.volume_mm3 == pytest.approx(covered, rel=ROUNDING)


@pytest.mark.parametrize("ends", ["half-slice", "none"])
def test_single_plane_without_thickness_is_an_error(ends):
    with pytest.raises(StructureError, match=r"'ROI' has a single contoured plane and no thick"):
        solid_of([ring(square())], ends=ends)


def test_single_plane_with_thickness():
    made = structure([ring(square())], slab_thickness_mm=2.5)
    assert build_solid(made).volume_mm3 == pytest.approx(100 * 2.5, rel=ROUNDING)
    with pytest.raises(StructureError, match="single contoured plane"):
        build_solid(made, ends="none")


def test_empty_structure_is_an_error():
    with pytest.raises(StructureError, match="'ROI' is empty: no closed planar contour"):
        solid_of([])


# --- bad contours ---


def test_overlapping_contours_are_united_and_named():
    """Two squares of 10 that share a strip of 2: the strip counts once."""
    contours = [ring(square(centre=(x, 0)), z) for z in Z for x in (0, 8)]
    solid = solid_of(contours)
    assert solid.volume_mm3 == pytest.approx(27 * 180, rel=ROUNDING)
    assert [f.code for f in solid.findings] == ["overlapping-contours"]
    assert "on 9 plane(s), z = -12.0" in solid.findings[0].message
    assert "that of the union" in solid.findings[0].message


def test_contours_that_share_an_edge_are_not_overlapping():
    solid = solid_of([ring(square(centre=(x, 0)), z) for z in Z for x in (0, 10)])
    assert solid.volume_mm3 == pytest.approx(27 * 200, rel=ROUNDING)
    assert not solid.findings


def test_only_what_lies_above_one_another_is_joined():
    """Each centroid in the other contour, or one contour inside the other; one is too little."""

    def may(x, small=2.0):
        t = 2 * np.pi * np.arange(90) / 90
        ring = np.c_[np.cos(t), np.sin(t)]
        rings = (10.0 * ring, small * ring + (x, 0.0))
        planes = [ContourPlane(2.0 * k, (r,)) for k, r in enumerate(rings)]
        return may_loft([plane for plane, _ in clean_planes(planes)])

    assert may(7.0) == [True]  # inside
    assert may(9.5) == [False]  # its centroid lies in the wide one, which reaches beyond it
    assert may(9.5, small=9.8) == [True]  # both centroids
    assert may(12.5) == [False]


def test_of_a_contour_drawn_twice_one_is_kept_with_all_others():
    square = np.array([(0, 0), (10, 0), (10, 10), (0, 10)], float)
    apart = 0.5 * square + (20.0, 0.0)
    ((found, problem),) = clean_planes([ContourPlane(2.0, (square, apart, square.copy()))])
    assert problem == "duplicate-contours"
    assert found.area_mm2 == pytest.approx(125.0)
    assert sorted(len(c) for c in found.contours) == [4, 4]


def test_exclusive_or_counts_what_one_contour_alone_has():
    """Squares of 10 mm that share a quarter: 75 + 75 mm2, and both contours are kept."""
    square = np.array([(0, 0), (10, 0), (10, 10), (0, 10)], float)
    plane = ContourPlane(2.0, (square, square + 5.0), True)
    ((found, problem),) = clean_planes([plane])
    assert problem is None
    assert (found.z_mm, found.area_mm2) == (2.0, pytest.approx(150.0))
    assert found.contours == plane.contours
    shared = np.array([(7.0, 7.0), (2.0, 2.0), (13.0, 13.0), (20.0, 0.0)])
    assert inside_rings(found.contours, shared).tolist() == [False, True, True, False]


def test_bow_tie_is_refused():
    """A lopsided figure of eight: its shoelace area is 25 - 36, what it encloses 25 + 36."""
    lopsided = np.array([(-5, -5), (6, 6), (6, -6), (-5, 5)], float)
    with pytest.raises(
        StructureError, match=r"crosses itself at z = .* by more than 5 %"
    ) as caught:
        solid_of([ring(lopsided, z) for z in Z])
    assert caught.value.code == "tangled-contour"


def test_loop_at_a_corner_is_named_and_counts():
    """A square with a loop of 1 mm2 beyond one corner, turned the other way round."""
    turned = np.array([(-5, -5), (5, -5), (5, 5), (5, 6), (6, 6), (6, 5), (5, 5), (-5, 5)], float)
    solid = solid_of([ring(turned, z) for z in Z])
    assert solid.volume_mm3 == pytest.approx(27 * 101, rel=ROUNDING)
    assert [f.code for f in solid.findings] == ["self-crossing-contour"]
    assert "the even-odd one" in solid.findings[0].message


def test_tiny_loop_of_a_hand_drawn_contour_passes():
    """A crossing that changes the area by less than 0.5 % is how pens draw."""
    outline = np.array([(-5, -5), (5, -5), (5, 5), (0.05, 5), (-0.05, 5.05), (0.05, 5.05),
                        (-0.05, 5), (-5, 5)], float)  # fmt: skip
    solid = solid_of([ring(outline, z) for z in Z])
    assert not solid.findings
    assert solid.volume_mm3 == pytest.approx(27 * 100, rel=1e-4)  # the loop holds 0.0025 mm2


def test_structure_with_one_bad_plane_keeps_the_others():
    contours = [ring(square(), z) for z in Z]
    contours.append(ring(square(centre=(8, 0)), 0.0))
    solid = solid_of(contours)
    assert solid.volume_mm3 == pytest.approx(100 * 27 + 80 * 3, rel=ROUNDING)
    assert "on 1 plane(s), z = 0.0 mm" in solid.findings[0].message


# --- pieces of the machinery ---


@SEEDED
@given(seed=st.integers(0, 2**31), n=st.integers(3, 30))
def test_inside_rings_agrees_with_shapely(seed, n):
    import shapely

    rng = np.random.default_rng(seed)
    t = np.sort(rng.uniform(0, 2 * np.pi, n))
    outer = np.c_[np.cos(t), np.sin(t)] * rng.uniform(2, 8, n)[:, None]
    points = rng.uniform(-9, 9, (300, 2))
    polygon_ = shapely.Polygon(outer)
    expected = shapely.contains_xy(polygon_, points)
    # Random vertices never lie on a random point; a self-crossing polygon is not compared.
    if polygon_.is_valid:
        assert (inside_rings([outer], points) == expected).all()


@SEEDED
@given(pitch=st.floats(0.1, 20))
@pytest.mark.parametrize("ends", ["half-slice", "none", "rounded"])
def test_sections_hold_the_volume_at_any_pitch(ends, pitch):
    """Exact area times thickness, or the trapezoid of it: areas linear in z, and 1 - u^2."""
    solid = solid_of(stack([polygon(r) for r in np.linspace(3, 7, 9)]), ends=ends)
    total = sum(float(s.area_mm2 @ s.thickness_mm) for s in solid.sections(pitch))
    assert total == pytest.approx(solid.volume_mm3, rel=ROUNDING)
    assert all((s.thickness_mm <= pitch + 1e-9).all() for s in solid.sections(pitch))


@pytest.mark.parametrize(
    ("ring", "crossings"),
    [
        ([(0, 0), (4, 0), (4, 4), (0, 4)], 0),
        ([(0, 0), (4, 4), (4, 0), (0, 4)], 1),
        # A star drawn in one go: each of its five lines crosses two others.
        ([(np.sin(a), np.cos(a)) for a in np.arange(5) * 4 * np.pi / 5], 5),
    ],
    ids=["square", "bow", "pentagram"],
)
def test_how_often_a_ring_crosses_itself(ring, crossings):
    assert _crossings(np.array(ring, float)) == crossings


def test_a_solid_of_one_plane_can_be_rebuilt_again():
    """The thickness that the planes do not tell goes along."""
    ring = np.array([(-4, -4, 2), (4, -4, 2), (4, 4, 2), (-4, 4, 2)], float)
    structure = structure_from_contours(1, "ROI", [ring], slab_thickness_mm=3.0)
    solid = build_solid(structure)
    again = solid.rebuilt(ends="flat").rebuilt(ends="half-slice")
    assert again.volume_mm3 == pytest.approx(solid.volume_mm3) == pytest.approx(64 * 3)
    assert again.slab_thickness_mm == 3.0
