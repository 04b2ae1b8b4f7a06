"""Each hot loop against its twin in numpy, on cases small enough for plain Python.

``make coverage`` runs these with NUMBA_DISABLE_JIT=1, so that the lines of the loops are counted;
with numba the same cases go through the machine code.
"""

from __future__ import annotations

import numpy as np
import pytest

from cordgap.case.grid import DoseGrid, GridGeometry
from cordgap.dvh import compiled
from cordgap.dvh.integrate import _N_BINS, _Histogram, kinks
from cordgap.dvh.layers import Lofts
from cordgap.dvh.lines import Spans, scan_section, strips
from cordgap.dvh.planes import N_ANGLES, Profiles, profiles_of
from cordgap.dvh.sections import Section, next_vertex

# Both add the same numbers in another order.
ROUNDING = {"rtol": 1e-9, "atol": 1e-9}


@pytest.fixture(scope="module")
def kernels():
    pytest.importorskip("numba")
    return compiled.kernels_for(0, "compiled")


def circle(radius, centre=(0.0, 0.0), n=24, *, clockwise=False):
    t = 2 * np.pi * (np.arange(n) + 0.3) / n
    ring = np.array(centre) + radius * np.c_[np.cos(t), np.sin(t)]
    return ring[::-1].copy() if clockwise else ring


def star(points=5):
    """Concave, and star-shaped about its centroid."""
    t = np.pi * np.arange(2 * points) / points
    return np.c_[np.cos(t), np.sin(t)] * np.where(np.arange(2 * points) % 2, 2.0, 5.0)[:, None]


SQUARE = np.array([(0, 0), (4, 0), (4, 4), (0, 4)], float)
C_SHAPE = np.array([(0, 0), (9, 0), (9, 2), (2, 2), (2, 7), (9, 7), (9, 9), (0, 9)], float)
# The same turned by half a turn, so that its centroid is 0: rays at 0 and 180 degrees run along two
# of its edges.
WITH_RADIAL_EDGES = np.array(
    [(1, 0), (3, 0), (2, 2), (0, 1), (-1, 0), (-3, 0), (-2, -2), (0, -1)], float
)
RINGS = {
    "circle": circle(5.0, (3.0, -2.0)),
    "clockwise": circle(5.0, (3.0, -2.0), clockwise=True),
    "square": SQUARE,
    "star": star(),
    "C": C_SHAPE,
    "line": np.array([(0, 0), (1, 1), (3, 3)], float),
    "bow": np.array([(0, 0), (6, 6), (6, 0), (0, 5)], float),
}


@pytest.mark.parametrize("name", RINGS)
def test_profiles(kernels, monkeypatch, name):
    same_profiles(kernels, monkeypatch, [RINGS[name], circle(2.0)])


@pytest.mark.parametrize("turned", [np.eye(2), np.array([(0, 1), (-1, 0)])], ids=["x", "y"])
def test_profiles_of_edges_along_a_ray(kernels, monkeypatch, turned):
    same_profiles(kernels, monkeypatch, [WITH_RADIAL_EDGES @ turned] + 40 * [circle(3.0)])
    same_profiles(kernels, monkeypatch, 40 * [circle(3.0)] + [WITH_RADIAL_EDGES @ turned + 7.3])


def same_profiles(kernels, monkeypatch, rings):
    monkeypatch.setattr(compiled, "_kernels", None)
    ours = profiles_of(rings)
    monkeypatch.setattr(compiled, "_kernels", kernels)
    found = profiles_of(rings)
    assert [p is None for p in found] == [p is None for p in ours]
    for a, b in zip(found, ours, strict=True):
        if a is not None:
            np.testing.assert_allclose(a.centre_mm, b.centre_mm, **ROUNDING)
            np.testing.assert_allclose(a.squared_radius_mm2, b.squared_radius_mm2, **ROUNDING)
            assert a.area_mm2 == pytest.approx(b.area_mm2)


@pytest.mark.parametrize(("name", "is_star"), [("circle", 1), ("star", 1), ("C", 0), ("line", 0)])
def test_which_rings_are_star_shaped(kernels, monkeypatch, name, is_star):
    monkeypatch.setattr(compiled, "_kernels", kernels)
    assert (profiles_of([RINGS[name]])[0] is not None) == bool(is_star)


def lofts():
    """A cone, and one whose second profile is so small that going on makes it negative."""
    squared = np.array([np.full(N_ANGLES, q) for q in (25.0, 9.0, 16.0, 1.0)])
    levels = np.array([0.0, 3.0])
    profiles = Profiles(
        np.array([0.0, 3.0, 3.0, 6.0]),
        np.array([(0.0, 0.0), (1.0, 2.0), (1.0, 2.0), (4.0, 0.0)]),
        squared,
        np.pi * squared[:, 0],
    )
    return Lofts(
        levels, levels + 3, np.array([0, 2]), np.array([1, 3]), np.zeros(2, dtype=bool), profiles
    )


def test_vertices_of_lofts(kernels):
    which, share = np.array([0, 1, 1]), np.array([0.5, 0.25, 1.5])
    found = lofts().vertices(which, share, share, kernels)
    ours = lofts().vertices(which, share, share, None)
    np.testing.assert_allclose(found, ours, **ROUNDING)
    found = found.reshape(3, N_ANGLES, 2)
    # sqrt((25 + 9) / 2) around the middle of the way; nothing is left where it would be negative.
    around = np.hypot(*(found[0] - (0.5, 1.0)).T)
    np.testing.assert_allclose(around, np.sqrt(17.0))
    np.testing.assert_allclose(found[2], np.tile((5.5, -1.0), (N_ANGLES, 1)))


def upright(outlines, z_mm, areas_mm2, *, rising, sizes=None):
    """A section of outlines, one for each height, or one for all."""
    n = [len(o) for o in outlines]
    k = len(z_mm)
    return Section(
        np.array(z_mm, float), np.full(k, 1.1), np.array(areas_mm2, float),
        np.arange(k) if len(n) == k else np.zeros(k, np.intp), np.concatenate(outlines),
        next_vertex(n if sizes is None else list(sizes) * len(n)), np.r_[0, np.cumsum(n)], rising,
    )  # fmt: skip


@pytest.mark.parametrize("rows", [None, np.array([-9.0, 0.7, 2.0, 2.05, 30.0])])
def test_strips(kernels, rows):
    low, extent = np.array([0.0, -3.0]), np.array([4.0, 9.5])
    boxes = [np.array([(0, y), (5, y), (5, y + h), (0, y + h)])
             for y, h in zip(low, extent, strict=True)]  # fmt: skip
    part = upright(boxes, [0.0, 1.0], 5 * extent, rising=False)
    found = strips(part, 0.9, rows, kernels)
    for a, b in zip(found, strips(part, 0.9, rows), strict=True):
        np.testing.assert_allclose(a, b, **ROUNDING)
    middles, heights, weights, first = found
    for i in (0, 1):
        mine = slice(first[i], first[i + 1])
        # They fill the extent, and give an ellipse its area: pi / 4 of its box.
        assert heights[mine].sum() == pytest.approx(extent[i])
        share = (middles[mine] - low[i]) / extent[i]
        chords = 2 * np.sqrt(share * (1 - share))
        assert (chords * weights[mine]).sum() == pytest.approx(np.pi / 4 * extent[i])


def test_many_strips_need_more_room(kernels):
    """The loop starts with room for 64 strips, and for 64 crossings of an outline."""
    part = upright([circle(25.0)], [0.0], [np.pi * 625], rising=False)
    found = strips(part, 0.5, None, kernels)
    assert found[0].size > 128
    np.testing.assert_allclose(found[0], strips(part, 0.5, None)[0], **ROUNDING)
    spans, ours = (scan_section(part, 0.5, None, k) for k in (kernels, None))
    np.testing.assert_allclose(spans.x0_mm, ours.x0_mm, **ROUNDING)


def test_rings_of_many_crossings_need_more_room(kernels):
    """The loop starts with room for four crossings of each line; a comb has more."""
    teeth = 12
    x = np.repeat(np.arange(2 * teeth, dtype=float), 2)
    y = np.tile([0.0, 6.0, 6.0, 0.0], teeth)
    comb = np.concatenate([np.c_[x, y], [(2 * teeth, -1.0), (-1.0, -1.0)]])
    part = upright([comb], [0.0], [6.0 * teeth + 2 * teeth + 1], rising=False)
    found, ours = (scan_section(part, 0.25, None, k) for k in (kernels, None))
    assert found.x0_mm.size > 4 * strips(part, 0.25, None)[0].size
    for name in Spans.__dataclass_fields__:
        np.testing.assert_allclose(getattr(found, name), getattr(ours, name), **ROUNDING)


def section(*, shared):
    """A ring with a hole that leans from sub-slice to sub-slice, or one outline for all."""
    outlines = [np.concatenate([circle(6.0 + 0.2 * i, (0.5 * i, -0.3 * i), 12),
                                circle(2.0, (0.5 * i, 0.0), 8, clockwise=True)])
                for i in range(1 if shared else 3)]  # fmt: skip
    areas = [90.0, 95.0, 100.0]
    return upright(outlines, [0.0, 1.0, 2.5], areas, rising=not shared, sizes=(12, 8))


def test_outlines_of_different_size(kernels):
    """Slabs: a square, a ring with a hole in two sub-slices, a triangle."""
    ring = np.concatenate([circle(6.0, n=12), circle(2.0, n=8, clockwise=True)])
    triangle = np.array([(0.0, 0.0), (5.0, 0.0), (1.0, 4.0)])
    part = Section(
        np.arange(4.0), np.ones(4), np.array([16.0, 90.0, 95.0, 10.0]), np.array([0, 1, 1, 2]),
        np.concatenate([SQUARE, ring, triangle]), next_vertex([4, 12, 8, 3]),
        np.array([0, 4, 24, 27]), False,
    )  # fmt: skip
    found, ours = (scan_section(part, 1.0, None, k) for k in (kernels, None))
    for name in Spans.__dataclass_fields__:
        np.testing.assert_allclose(getattr(found, name), getattr(ours, name), **ROUNDING)
    volume = (found.x1_mm - found.x0_mm) * found.area_mm2
    by_slice = [volume[found.z_mm == z].sum() for z in part.z_mm]
    np.testing.assert_allclose(by_slice, part.area_mm2)
    # A part of it, and each sub-slice with an outline of its own, are cut in the same way.
    for same in (part.apart(), part.part(1, 4)):
        cut = scan_section(same, 1.0, None, kernels)
        kept = np.isin(found.z_mm, same.z_mm)
        np.testing.assert_allclose(cut.x0_mm, found.x0_mm[kept], **ROUNDING)


@pytest.mark.parametrize("axis", [0, 1])
def test_kinks(kernels, axis):
    """A dose that bends in two of its rows or planes, and is straight between."""
    at = np.array([0.0, 1.0, 2.5, 4.0, 6.0, 7.0, 9.0])
    bent = np.interp(at, [0.0, 2.5, 6.0, 9.0], [0.0, 5.0, -3.0, 1.0])
    values = np.moveaxis(np.broadcast_to(bent, (4, 5, at.size)), 2, axis).copy()
    x, other = np.arange(5.0), np.arange(4.0)
    geometry = GridGeometry(x, other, at) if axis == 0 else GridGeometry(x, at, other)
    grid = DoseGrid.from_array(geometry, values)
    assert kinks(grid, axis, kernels).tolist() == [0.0, 2.5, 6.0, 9.0]
    assert kinks(grid, axis).tolist() == [0.0, 2.5, 6.0, 9.0]


@pytest.mark.parametrize("shared", [True, False])
def test_spans(kernels, shared):
    part, rows = section(shared=shared), np.array([-2.0, 1.0])
    found, ours = (scan_section(part, 1.0, rows, k) for k in (kernels, None))
    for name in Spans.__dataclass_fields__:
        np.testing.assert_allclose(getattr(found, name), getattr(ours, name), **ROUNDING)
    # Each sub-slice has its area: volume is area times thickness.
    volume = (found.x1_mm - found.x0_mm) * found.area_mm2
    by_slice = [volume[found.z_mm == z].sum() for z in part.z_mm]
    np.testing.assert_allclose(by_slice, part.area_mm2 * 1.1)
    # Lines through the middle are cut by the hole.
    assert np.unique(found.y_mm).size < found.y_mm.size


def test_one_sub_slice_has_no_lean_along_z(kernels):
    whole = section(shared=False)
    one = whole.part(0, 1)
    found = scan_section(one, 1.0, None, kernels)
    assert not found.lean_z0.any() and not found.lean_z1.any()
    np.testing.assert_allclose(found.x0_mm, scan_section(one, 1.0).x0_mm, **ROUNDING)


def grid(field):
    axes = [np.arange(-6.0, 7.0, 2.0), np.array([-5.0, -2.0, 0.0, 1.0, 6.0]), np.arange(-4.0, 5.0)]
    zz, yy, xx = np.meshgrid(axes[2], axes[1], axes[0], indexing="ij")
    return DoseGrid.from_array(GridGeometry(*axes), field(xx, yy, zz))


def spans():
    """Inside one column, over several, over the edge, and outside on every side; to and fro."""
    at = np.array([
        # x0, x1, y, z
        (-0.5, 0.5, 0.5, 0.5), (-5.0, 5.5, 3.0, 2.5), (-9.0, 9.0, -4.0, -3.5), (4.0, 8.0, 5.9, 3.9),
        (-9.0, -6.5, 0.0, 0.0), (6.5, 9.0, 0.0, 0.0), (0.0, 1.0, -7.0, 0.0), (0.0, 1.0, 7.0, 0.0),
        (0.0, 1.0, 0.0, -6.0), (0.0, 1.0, 0.0, 6.0), (-6.0, 6.0, 6.0, 4.0),
        (-4.0, -2.0, -5.0, -4.0),
    ])  # fmt: skip
    n = len(at)
    lean = np.linspace(-0.4, 0.4, n)
    return Spans(*at.T.copy(), np.full(n, 0.6), np.full(n, 0.8), np.full(n, 0.9),
                 lean, -lean, 0.5 * lean, lean[::-1].copy())  # fmt: skip


@pytest.mark.parametrize("flat", [False, True])
def test_histograms(kernels, flat):
    dose = grid(lambda x, y, z: 0 * x + 7.0 if flat else 20 + x - 0.5 * y + 0.3 * z * x)
    found, ours = _Histogram(dose), _Histogram(dose)
    found.add(spans(), kernels)
    ours.add(spans(), None)
    np.testing.assert_allclose(found.sums, ours.sums, **ROUNDING)
    # A flat dose is a bin of 1e-11 Gy, whose density is all rounding; its curve is compared.
    for name in () if flat else ("slope", "offset"):
        np.testing.assert_allclose(getattr(found, name), getattr(ours, name), **ROUNDING)
    # What lies in the grid: the lengths of the spans inside, wholly or in part, times their area.
    assert found.sums[0] == pytest.approx(0.6 * (1.0 + 10.5 + 12.0 + 2.0 + 12.0 + 2.0))
    curves = found.dvh(20.0, kernels), ours.dvh(20.0)
    assert curves[0].max_gy == pytest.approx(curves[1].max_gy, abs=1e-9)
    for dose_gy in (0.0, 6.9, 7.0, 7.1, *np.linspace(10.0, 30.0, 13)):
        a, b = (curve.volume_at_least_cc(float(dose_gy)) for curve in curves)
        assert a == pytest.approx(b, abs=1e-9)


def test_a_curve_never_rises(kernels):
    """Rounding may lift a sum over the one before, over the total, or below nothing."""
    slope, offset = np.zeros(_N_BINS + 2), np.zeros(_N_BINS + 2)
    rng = np.random.default_rng(5)
    offset[1:50] = rng.normal(0, 1, 49)  # not a distribution at all
    above = kernels.cumulate(slope, offset, 0.01, 3.0, 1e-9)
    assert above[0] == 3.0 and above[-1] == 0.0
    assert (np.diff(above) <= 0).all()
    assert above.max() <= 3.0 and above.min() >= 0.0
