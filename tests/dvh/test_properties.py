"""What holds for any body in any dose: hypothesis draws both.

Bodies are star-shaped stacks that are cut or close, rings and pairs; doses are smooth with at most
``STEEPEST`` Gy/mm. Where scanlines fall otherwise, the tolerance is the stated 0.02 mm of the
0.25 mm pitch in that gradient; where they fall the same it is rounding.
"""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from cordgap.case.grid import DoseGrid, GridGeometry
from cordgap.case.structure import structure_from_contours
from cordgap.dvh.integrate import compute_dvh
from cordgap.dvh.metrics import parse_metric
from cordgap.dvh.solid import build_solid

FEW = settings(derandomize=True, deadline=None, max_examples=12)
MORE = settings(derandomize=True, deadline=None, max_examples=40)
ROUNDING = 1e-9
NEAR_MM = 0.02
STEEPEST = 2.0
SHARES = np.array([0.01, 0.05, 0.3, 0.45, 0.9, 0.98])
SPACING = 2.0
Z = SPACING * np.arange(6) - 5.0


def ring(points, z):
    return np.column_stack([points, np.full(len(points), z)])


def star(radius, wobble, n=48):
    """A star-shaped outline: two waves on a circle."""
    t = 2 * np.pi * (np.arange(n) + 0.3) / n
    r = radius * (1 + wobble[0] * np.cos(2 * t) + wobble[1] * np.sin(3 * t))
    return np.column_stack([r * np.cos(t), r * np.sin(t)])


@st.composite
def bodies(draw, kinds=("cut", "closing", "ring", "pair")):
    """Contours of a body of 3-8 mm radius."""
    kind = draw(st.sampled_from(kinds))
    radius, tilt = draw(st.floats(3.5, 8.0)), draw(st.floats(-0.3, 0.3))
    wobble = [draw(st.floats(-0.12, 0.12)) for _ in range(2)]
    phase = draw(st.floats(-0.45, 0.45))
    contours = []
    for z in Z:
        width = 1.0
        if kind == "closing":
            # An ellipsoid from -6 to 6 mm whose planes lie anywhere.
            width = float(np.sqrt(max(1 - ((z + phase * SPACING) / 6.2) ** 2, 0.0)))
        if width < 0.05:
            continue
        outline = star(radius * width, wobble) + np.array([tilt * z, 0.3])
        if kind == "pair":
            contours += [ring(outline * 0.6 + np.array([d, 0.0]), z) for d in (-6.0, 6.0)]
        else:
            contours.append(ring(outline, z))
        if kind == "ring":
            contours.append(ring(star(0.45 * radius, (0.0, 0.0)) + np.array([tilt * z, 0.3]), z))
    return contours


@st.composite
def fields(draw):
    """A smooth dose without symmetry; at most STEEPEST Gy/mm."""
    direction = np.array([draw(st.floats(-1, 1)) for _ in range(3)])
    assume(np.linalg.norm(direction) > 0.2)
    direction /= np.linalg.norm(direction)
    depth, middle = draw(st.floats(4.0, 10.0)), draw(st.floats(-3, 3))
    bend = draw(st.floats(-0.02, 0.02))

    def dose(x, y, z):
        along = direction[0] * x + direction[1] * y + direction[2] * z + bend * x * y
        return 25 + 0.7 * STEEPEST * depth * np.tanh((along - middle) / depth)

    return dose


def grid_of(dose, spacing=2.5, half=18.0):
    axes = [np.arange(-half, half + 1, spacing) + o for o in (-0.413, 0.291, -0.157)]
    x, y, z = np.meshgrid(*axes, indexing="ij")
    return DoseGrid.from_array(GridGeometry(*axes), dose(x, y, z).transpose(2, 1, 0))


def solid_of(contours, **how):
    return build_solid(structure_from_contours(1, "ROI", contours), **how)


compute = partial(compute_dvh, uncertainty=False)


def doses(dvh):
    return np.array([dvh.dose_of_hottest_gy(float(s * dvh.total_volume_cc)) for s in SHARES])


def levels(dvh):
    return np.linspace(dvh.min_gy, dvh.max_gy, 25)[1:-1]


def volumes(dvh, at):
    return np.array([dvh.volume_at_least_cc(float(d)) for d in at])


def near_curve(a, b):
    """The curve of b lies within the stated accuracy in dose of that of a.

    How the exact area of a sub-slice is shared by its contours is up to the scanlines: 0.2 %.
    """
    rounding = 2e-3 * a.total_volume_cc
    lower, upper = (volumes(a, levels(a) + d * NEAR_MM * STEEPEST) for d in (1, -1))
    there = volumes(b, levels(a))
    assert ((there >= lower - rounding) & (there <= upper + rounding)).all()


def same_up_to_scanlines(a, b):
    assert b.total_volume_cc == pytest.approx(a.total_volume_cc, rel=ROUNDING)
    near_curve(a, b)
    # Both means are sums over scanlines 0.25 mm apart.
    assert b.mean_gy == pytest.approx(a.mean_gy, abs=NEAR_MM * STEEPEST)


@FEW
@given(contours=bodies(), field=fields())
def test_monotone_and_conserved(contours, field):
    solid = solid_of(contours)
    dvh = compute(solid, grid_of(field))
    assert (np.diff(dvh.volume_cc) <= 0).all()
    assert dvh.covered_volume_cc == pytest.approx(solid.volume_cc, rel=ROUNDING)
    assert dvh.min_gy <= dvh.mean_gy <= dvh.max_gy


@FEW
@given(contours=bodies(), field=fields(), factor=st.floats(0.05, 20))
def test_scaling_the_dose_scales_every_dose(contours, field, factor):
    solid, grid = solid_of(contours), grid_of(field)
    a = compute(solid, grid)
    b = compute(solid, DoseGrid.from_array(grid.geometry, factor * grid.values))
    # 20,000 bins that scale with the dose.
    np.testing.assert_allclose(doses(b), factor * doses(a), rtol=1e-6)
    np.testing.assert_allclose(volumes(b, factor * levels(a)), volumes(a, levels(a)), rtol=1e-5,
                               atol=1e-6 * a.total_volume_cc)  # fmt: skip


@FEW
@given(contours=bodies(), field=fields(), shift=st.tuples(*[st.floats(-200, 200)] * 3))
def test_translating_everything(contours, field, shift):
    grid = grid_of(field)
    axes = [a + s for a, s in zip(grid.geometry.axes[::-1], shift, strict=True)]
    moved = DoseGrid.from_array(GridGeometry(*axes), grid.values)
    a = compute(solid_of(contours), grid)
    b = compute(solid_of([c + np.array(shift) for c in contours]), moved)
    same_up_to_scanlines(a, b)


TURNS = {
    "mirror x": ((0, 1, 2), (-1, 1, 1)),
    "mirror y": ((0, 1, 2), (1, -1, 1)),
    "mirror z": ((0, 1, 2), (1, 1, -1)),
    "quarter turn": ((1, 0, 2), (-1, 1, 1)),
    "three quarters": ((1, 0, 2), (1, -1, 1)),
    "half turn": ((0, 1, 2), (-1, -1, 1)),
}


@settings(derandomize=True, deadline=None, max_examples=20)
@given(contours=bodies(), field=fields(), turn=st.sampled_from(list(TURNS)))
def test_mirroring_and_turning_everything(contours, field, turn):
    order, signs = TURNS[turn]
    grid = grid_of(field)
    old = grid.geometry.axes[::-1]
    values = grid.values.transpose(2, 1, 0).transpose(order)
    axes = []
    for i in range(3):
        axis = signs[i] * old[order[i]]
        if signs[i] < 0:
            axis, values = axis[::-1], np.flip(values, i)
        axes.append(axis)
    turned = DoseGrid.from_array(GridGeometry(*axes), values.transpose(2, 1, 0))
    a = compute(solid_of(contours), grid)
    b = compute(solid_of([c[:, order] * signs for c in contours]), turned)
    same_up_to_scanlines(a, b)


@FEW
@given(contours=bodies(("cut", "closing")), field=fields(), between=st.sampled_from(["x", "z"]))
def test_splitting_a_structure_in_two_adds_up(contours, field, between):
    """Cut along a line, or between two planes; slabs, because a loft follows the whole outline."""
    import shapely

    grid = grid_of(field)
    slabs = partial(solid_of, between="slab")
    if between == "z":
        middle = len(contours) // 2
        halves = [contours[:middle], contours[middle:]]
    else:
        halves = []
        for x0, x1 in ((-50.0, 0.2), (0.2, 50.0)):
            cut = [shapely.Polygon(c[:, :2]) & shapely.box(x0, -50, x1, 50) for c in contours]
            assume(all(p.geom_type == "Polygon" and p.area > 0.01 for p in cut))
            halves.append(
                [ring(np.asarray(p.exterior.coords)[:-1], c[0, 2])
                 for p, c in zip(cut, contours, strict=True)]
            )  # fmt: skip
    whole = compute(slabs(contours), grid)
    a, b = (compute(slabs(half), grid) for half in halves)
    assert a.total_volume_cc + b.total_volume_cc == pytest.approx(whole.total_volume_cc, rel=1e-6)
    both = volumes(a, levels(whole)) + volumes(b, levels(whole))
    # The whole and the halves are cut by other scanlines: both have the stated error.
    lower, upper = (volumes(whole, levels(whole) + d * 2 * NEAR_MM * STEEPEST) for d in (1, -1))
    rounding = 1e-6 * whole.total_volume_cc
    assert ((both >= lower - rounding) & (both <= upper + rounding)).all()


@FEW
@given(contours=bodies(("cut",)), field=fields())
def test_a_hole_is_the_difference(contours, field):
    grid = grid_of(field)
    holes = [np.column_stack([c[:, :2] * 0.4 + 0.6 * c[:, :2].mean(axis=0), c[:, 2]])
             for c in contours]  # fmt: skip
    slabs = partial(solid_of, between="slab")
    outer, inner = compute(slabs(contours), grid), compute(slabs(holes), grid)
    both = compute(slabs([*contours, *holes]), grid)
    assert both.total_volume_cc == pytest.approx(
        outer.total_volume_cc - inner.total_volume_cc, rel=1e-6
    )
    at = levels(outer)
    near = NEAR_MM * STEEPEST
    low = volumes(outer, at + near) - volumes(inner, at - near)
    high = volumes(outer, at - near) - volumes(inner, at + near)
    left, rounding = volumes(both, at), 1e-6 * outer.total_volume_cc
    assert ((left >= low - rounding) & (left <= high + rounding)).all()


@MORE
@given(data=st.data(), contours=bodies())
def test_how_contours_are_written(data, contours):
    """Direction, first vertex, repeated closing point, order in the file; closing caps included."""
    written = []
    for contour in contours:
        points = contour[::-1] if data.draw(st.booleans()) else contour
        points = np.roll(points, data.draw(st.integers(0, len(points) - 1)), axis=0)
        written.append(np.r_[points, points[:1]] if data.draw(st.booleans()) else points)
    a, b = solid_of(contours), solid_of(data.draw(st.permutations(written)))
    assert b.volume_mm3 == pytest.approx(a.volume_mm3, rel=ROUNDING)
    np.testing.assert_allclose(b.bounds_mm, a.bounds_mm, atol=1e-6)
    assert len(b.layers) == len(a.layers)


@FEW
@given(contours=bodies(), field=fields(), factor=st.integers(2, 3))
def test_refining_the_grid_trilinearly(contours, field, factor):
    grid = grid_of(field, spacing=3.0)
    values, axes = grid.values, []
    for i, axis in enumerate(grid.geometry.axes):
        fine = np.linspace(axis[0], axis[-1], (axis.size - 1) * factor + 1)
        low = np.minimum(np.arange(fine.size) // factor, axis.size - 2)
        share = (np.arange(fine.size) / factor - low).reshape(
            [-1 if j == i else 1 for j in range(3)]
        )
        values = np.take(values, low, i) * (1 - share) + np.take(values, low + 1, i) * share
        axes.append(fine)
    a = compute(solid_of(contours), grid)
    b = compute(solid_of(contours), DoseGrid.from_array(GridGeometry(*axes[::-1]), values))
    # Cut at more columns; what lies between is the same trilinear dose.
    near_curve(a, b)
    assert b.mean_gy == pytest.approx(a.mean_gy, rel=1e-6)


@FEW
@given(contours=bodies(), field=fields())
def test_the_parts_of_plus_minus_add_up(contours, field):
    dvh = compute_dvh(solid_of(contours), grid_of(field))
    for text in ("D0.035cc[Gy]", "D95%[Gy]", "Mean[Gy]", "V25Gy[cc]"):
        read = parse_metric(text).evaluate(dvh)
        assert read.plus_minus is not None
        assert read.plus_minus == pytest.approx(sum(dict(read.plus_minus_parts).values()))
        assert list(dict(read.plus_minus_parts)) == [
            "dose grid", "quadrature", "end caps", "between planes",
        ]  # fmt: skip
        assert min(dict(read.plus_minus_parts).values()) >= 0
