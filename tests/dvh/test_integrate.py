"""Solid x dose -> DVH: closed forms in linear fields, and what may not change the answer.

Where a tolerance reads ``NEAR_MM * gradient`` it is the accuracy stated for the quadrature at its
0.25 mm pitch (D0.035cc of the analytic cords within 0.02 mm).
"""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import trapezoid
from scipy.optimize import brentq

from cordgap.case.grid import DoseGrid, GridGeometry
from cordgap.case.structure import structure_from_contours
from cordgap.dvh.integrate import compute_dvh, refine_cubic
from cordgap.dvh.lines import cell
from cordgap.dvh.solid import build_solid

SEEDED = settings(derandomize=True, deadline=None, max_examples=25)
NEAR_MM = 0.02
# Sums over some 100,000 pieces in double precision.
ROUNDING = 1e-9
VOLUMES_CC = (0.035, 0.1, 0.5, 1.0)


def ring(points, z):
    return np.c_[points, np.full(len(points), z)]


def rectangle(lower, upper):
    (x0, y0), (x1, y1) = lower, upper
    return np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1)], float)


def circle(radius, centre=(0.0, 0.0), n=720):
    t = 2 * np.pi * (np.arange(n) + 0.3) / n
    return np.array(centre) + radius * np.c_[np.cos(t), np.sin(t)]


def solid_of(contours, **how):
    return build_solid(structure_from_contours(1, "ROI", contours), **how)


LOWER, UPPER = np.array([-4.3, -6.1, -9.0]), np.array([5.7, 3.9, 12.0])


def box(spacing=3.0, **how):
    """A box from LOWER to UPPER: planes at the centres of slabs, half-slice ends."""
    z = np.arange(LOWER[2] + spacing / 2, UPPER[2], spacing)
    return solid_of([ring(rectangle(LOWER[:2], UPPER[:2]), float(v)) for v in z], **how)


def tube(radius=5.0, tilt=(0.0, 0.0), n=720):
    z = 1.5 * np.arange(16) - 11.25
    return solid_of([ring(circle(radius, (tilt[0] * v, tilt[1] * v), n), float(v)) for v in z])


def grid_of(dose, axes=None, *, spacing=2.5, half=25.0, offset=(-0.413, 0.291, -0.157)):
    if axes is None:
        axes = [np.arange(-half, half + spacing, spacing) + o for o in offset]
    geometry = GridGeometry(*axes)
    zz, yy, xx = np.meshgrid(*geometry.axes, indexing="ij")
    return DoseGrid.from_array(geometry, dose(xx, yy, zz) + 0.0 * xx)


def linear(gradient, at_origin=60.0):
    gx, gy, gz = gradient
    return lambda x, y, z: at_origin + gx * x + gy * y + gz * z


def read(dvh, volumes=VOLUMES_CC):
    return np.array([dvh.dose_of_hottest_gy(v) for v in volumes])


# --- closed forms ---


def box_volume_above(dose, gradient, at_origin=60.0):
    """Volume in mm3 of the box LOWER to UPPER above a dose, for a gradient without zeros.

    The dose is a sum of three independent uniform variables: by inclusion and exclusion over the
    eight corners, the volume below t is the sum of sign * max(t - dose(corner), 0)^3 over
    6 |gx gy gz|.
    """
    size, slope = UPPER - LOWER, np.abs(gradient)
    lowest = at_origin + np.minimum(gradient * LOWER, gradient * UPPER).sum()
    below = 0.0
    for corner in itertools.product((0, 1), repeat=3):
        at = lowest + float(np.dot(corner, slope * size))
        below += (-1) ** sum(corner) * max(dose - at, 0.0) ** 3
    return float(np.prod(size)) - below / (6 * float(np.prod(slope)))


SLOPES = st.floats(0.2, 2.0).flatmap(lambda s: st.sampled_from([s, -s]))


@SEEDED
@given(gradient=st.tuples(SLOPES, SLOPES, SLOPES))
def test_box_in_a_linear_field(gradient):
    gradient = np.array(gradient)
    dvh = compute_dvh(box(), grid_of(linear(gradient)), uncertainty=False)
    reach = float(np.abs(gradient * (UPPER - LOWER)).sum())
    middle = 60 + float(gradient @ (LOWER + UPPER)) / 2
    for volume in VOLUMES_CC:
        exact = brentq(
            lambda d, v=volume: box_volume_above(d, gradient) - 1000 * v,
            middle - reach, middle + reach,
        )  # fmt: skip
        assert dvh.dose_of_hottest_gy(volume) == pytest.approx(
            exact, abs=NEAR_MM * float(np.linalg.norm(gradient))
        )
    assert dvh.total_volume_cc == pytest.approx(2.1, rel=ROUNDING)
    assert dvh.mean_gy == pytest.approx(middle, abs=NEAR_MM * float(np.linalg.norm(gradient)))


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("sign", [-1, 1])
def test_box_along_one_axis(axis, sign):
    """The hottest volume is a slab at one face: thickness = volume / face."""
    gradient = np.zeros(3)
    gradient[axis] = sign
    dvh = compute_dvh(box(), grid_of(linear(gradient)), uncertainty=False)
    face = float(np.prod(np.delete(UPPER - LOWER, axis)))
    hottest = 60 + max(sign * LOWER[axis], sign * UPPER[axis])
    expected = [hottest - 1000 * v / face for v in VOLUMES_CC]
    np.testing.assert_allclose(read(dvh), expected, atol=NEAR_MM)


def test_cylinder_across_its_axis():
    """The hottest volume is a circular segment of the cross-section, over the whole length."""
    radius, length = 5.0, 24.0
    dvh = compute_dvh(tube(radius), grid_of(linear((0, 1, 0))), uncertainty=False)

    def above(y):
        u = y / radius
        return radius**2 * (np.arccos(u) - u * np.sqrt(1 - u * u)) * length

    for volume in VOLUMES_CC:
        exact = brentq(lambda y, v=volume: above(y) - 1000 * v, -radius, radius)
        assert dvh.dose_of_hottest_gy(volume) - 60 == pytest.approx(exact, abs=NEAR_MM)


def test_tilted_cylinder_along_z():
    """Axial cross-sections do not change along z, so the tilt does not matter to a z gradient."""
    dvh = compute_dvh(tube(tilt=(0.2, -0.3)), grid_of(linear((0, 0, 1))), uncertainty=False)
    expected = [60 + 12 - 1000 * v / (np.pi * 25) for v in VOLUMES_CC]
    np.testing.assert_allclose(read(dvh), expected, atol=NEAR_MM)


@pytest.mark.parametrize("gradient", [(1, 0, 0), (0, -1, 0), (0, 0, 1), (0.6, 0, -0.8)])
def test_sphere(gradient):
    """The hottest volume is a cap: V = pi h^2 (3 r - h) / 3.

    Closing caps reach the poles, which lie 0.25 mm beyond the last planes; the sides are chords
    within 0.1 % of the radius, 0.012 mm.
    """
    radius, spacing = 12.0, 0.5
    z = np.arange(-radius + spacing / 2, radius, spacing)
    sphere = solid_of([ring(circle(np.sqrt(radius**2 - v * v)), float(v)) for v in z])
    dvh = compute_dvh(sphere, grid_of(linear(gradient)), uncertainty=False)
    for volume in (0.1, 1.0, 3.0):
        height = brentq(
            lambda h, v=volume: np.pi * h**2 * (3 * radius - h) / 3 - 1000 * v, 0, 2 * radius
        )
        assert dvh.dose_of_hottest_gy(volume) - 60 == pytest.approx(
            radius - height, abs=1e-3 * radius
        )
    exact = 4 / 3 * np.pi * radius**3 / 1000
    assert dvh.total_volume_cc == pytest.approx(exact, rel=2e-3)


def test_flat_dose():
    dvh = compute_dvh(tube(), grid_of(lambda x, y, z: 20.0))
    np.testing.assert_allclose(read(dvh), 20.0, rtol=1e-6)
    assert (dvh.min_gy, dvh.max_gy) == (20.0, 20.0)
    assert dvh.mean_gy == pytest.approx(20.0, rel=ROUNDING)
    assert dvh.volume_at_least_cc(19.99) == pytest.approx(dvh.total_volume_cc, rel=ROUNDING)
    assert dvh.volume_at_least_cc(20.01) == 0.0


def test_zero_dose():
    dvh = compute_dvh(tube(), grid_of(lambda x, y, z: 0.0))
    assert dvh.covered_volume_cc == pytest.approx(dvh.total_volume_cc, rel=ROUNDING)
    assert dvh.mean_gy == 0.0
    assert dvh.max_gy == 0.0


# --- what must hold for any dose ---


@st.composite
def rough_doses(draw):
    """Doses without any structure: random samples between 0 and 30 Gy."""
    rng = np.random.default_rng(draw(st.integers(0, 2**31)))
    return lambda x, y, z: rng.uniform(0.0, 30.0, x.shape)


OUTLINES = {
    "tube": [circle(5.0, n=60)],
    "ring": [circle(8.0, n=60), circle(3.0, n=40)],
    "two": [rectangle((-9, -4), (-3, 4)), rectangle((2, -5), (8, 1))],
}


def shape(kind):
    z = 3.0 * np.arange(7) - 9.0
    return solid_of([ring(o, float(v)) for v in z for o in OUTLINES[kind]])


@SEEDED
@given(dose=rough_doses(), kind=st.sampled_from(list(OUTLINES)))
def test_monotone_and_conserved(dose, kind):
    solid, grid = shape(kind), grid_of(dose)
    dvh = compute_dvh(solid, grid, uncertainty=False)
    assert (np.diff(dvh.volume_cc) <= 0).all()
    assert (np.diff(dvh.dose_gy) > 0).all()
    assert dvh.volume_cc[-1] == 0
    assert dvh.covered_volume_cc == pytest.approx(solid.volume_cc, rel=ROUNDING)
    assert dvh.total_volume_cc == pytest.approx(solid.volume_cc, rel=ROUNDING)
    assert grid.values.min() <= dvh.min_gy <= dvh.mean_gy <= dvh.max_gy <= grid.values.max()
    # The area under the cumulative curve is the integral dose: 16,000 bins of 0.0019 Gy.
    mean = dvh.dose_gy[0] + trapezoid(dvh.volume_cc, dvh.dose_gy) / dvh.covered_volume_cc
    assert mean == pytest.approx(dvh.mean_gy, abs=0.0019)


@SEEDED
@given(dose=rough_doses(), factor=st.floats(0.1, 10))
def test_scaling_the_dose_scales_the_curve(dose, factor):
    """Bins scale with the dose: only rounding at the bin edges is left."""
    grid = grid_of(dose)
    scaled = DoseGrid.from_array(grid.geometry, factor * grid.values)
    a, b = (compute_dvh(shape("ring"), g) for g in (grid, scaled))
    np.testing.assert_allclose(read(b), factor * read(a), rtol=1e-6)
    assert b.mean_gy == pytest.approx(factor * a.mean_gy, rel=1e-9)
    for x, y in zip(a.alternatives, b.alternatives, strict=True):
        np.testing.assert_allclose(read(y.dvh), factor * read(x.dvh), rtol=1e-6)


def test_adding_a_constant_shifts_the_curve():
    rng = np.random.default_rng(11)
    grid = grid_of(lambda x, y, z: rng.uniform(0, 30, x.shape))
    raised = DoseGrid.from_array(grid.geometry, grid.values + 7.0)
    a, b = (compute_dvh(shape("two"), g, uncertainty=False) for g in (grid, raised))
    np.testing.assert_allclose(read(b), read(a) + 7.0, rtol=1e-6)


def smooth(x, y, z):
    """A dose with a gradient of up to 2.5 Gy/mm and no symmetry."""
    return 30 + 20 * np.tanh((0.8 * x - 0.5 * y + 0.3 * z + 0.02 * x * y) / 8)


SMOOTH_GRADIENT = 2.5


@SEEDED
@given(shift=st.tuples(*[st.floats(-300, 300)] * 3))
def test_moving_everything_changes_nothing(shift):
    """Scanlines are laid from the structure outwards, so that a shift leaves only rounding."""
    z = 3.0 * np.arange(7) - 9.0
    grid = grid_of(smooth)
    moved_grid = DoseGrid.from_array(
        GridGeometry(*(a + s for a, s in zip(grid.geometry.axes[::-1], shift, strict=True))),
        grid.values,
    )
    outline = circle(5.0, (1.3, -0.4), n=60)
    here = solid_of([ring(outline, float(v)) for v in z])
    there = solid_of([ring(outline + shift[:2], float(v) + shift[2]) for v in z])
    a, b = (
        compute_dvh(here, grid, uncertainty=False),
        compute_dvh(there, moved_grid, uncertainty=False),
    )
    # Positions near 300 mm are rounded to 6e-14 mm; a scanline may fall on the other side of a
    # vertex, which moves one line of a hundred thousand.
    np.testing.assert_allclose(read(b), read(a), atol=2e-3)
    assert b.total_volume_cc == pytest.approx(a.total_volume_cc, rel=1e-9)


# Each turns (x, y, z) into new coordinates by a signed permutation.
TURNS = {
    "mirror x": ((0, 1, 2), (-1, 1, 1)),
    "mirror y": ((0, 1, 2), (1, -1, 1)),
    "mirror z": ((0, 1, 2), (1, 1, -1)),
    "quarter turn": ((1, 0, 2), (-1, 1, 1)),
    "half turn": ((0, 1, 2), (-1, -1, 1)),
    "transpose": ((1, 0, 2), (1, 1, 1)),
}


@pytest.mark.parametrize(("order", "signs"), TURNS.values(), ids=TURNS.keys())
def test_turning_everything_changes_nothing(order, signs):
    """Other scanlines see the same body and dose: what is left is the quadrature."""
    z = 3.0 * np.arange(7) - 9.0
    contours = [ring(circle(5.0, (1.3 + 0.1 * v, -0.4), n=60), float(v)) for v in z]
    grid = grid_of(smooth)
    axes = [grid.geometry.x_mm, grid.geometry.y_mm, grid.geometry.z_mm]
    values = grid.values.transpose(2, 1, 0).transpose(order)
    new_axes = []
    for i in range(3):
        axis = signs[i] * axes[order[i]]
        if signs[i] < 0:
            axis, values = axis[::-1], np.flip(values, i)
        new_axes.append(axis)
    turned_grid = DoseGrid.from_array(GridGeometry(*new_axes), values.transpose(2, 1, 0))
    turned = [(c[:, order] * signs) for c in contours]
    a = compute_dvh(solid_of(contours), grid, uncertainty=False)
    b = compute_dvh(solid_of(turned), turned_grid, uncertainty=False)
    np.testing.assert_allclose(read(b), read(a), atol=NEAR_MM * SMOOTH_GRADIENT)
    # A profile has 180 angles: turned by a quarter it is the same; mirrored too. Areas are exact.
    assert b.total_volume_cc == pytest.approx(a.total_volume_cc, rel=1e-9)


def upsampled(grid, factor):
    """The same trilinear dose on a finer grid: samples between the old ones lie on it."""
    values, axes = grid.values, []
    for i, axis in enumerate(grid.geometry.axes):
        fine = np.interp(
            np.arange((axis.size - 1) * factor + 1) / factor, np.arange(axis.size), axis
        )
        low = np.clip(np.searchsorted(axis, fine, side="right") - 1, 0, axis.size - 2)
        share = (fine - axis[low]) / (axis[low + 1] - axis[low])
        share = share.reshape([-1 if j == i else 1 for j in range(3)])
        values = np.take(values, low, i) * (1 - share) + np.take(values, low + 1, i) * share
        axes.append(fine)
    return DoseGrid.from_array(GridGeometry(*axes[::-1]), values)


@pytest.mark.parametrize("factor", [2, 3])
@pytest.mark.parametrize("kind", list(OUTLINES))
def test_refining_a_grid_trilinearly_changes_nothing(kind, factor):
    grid = grid_of(smooth, spacing=3.0)
    a = compute_dvh(shape(kind), grid, uncertainty=False)
    b = compute_dvh(shape(kind), upsampled(grid, factor), uncertainty=False)
    np.testing.assert_allclose(read(b), read(a), atol=NEAR_MM * SMOOTH_GRADIENT)
    assert b.mean_gy == pytest.approx(a.mean_gy, rel=1e-6)


@SEEDED
@given(seed=st.integers(0, 2**31))
def test_uneven_grid_axes(seed):
    """A linear dose is the same on any grid."""
    rng = np.random.default_rng(seed)
    axes = [np.cumsum(rng.uniform(0.6, 4.0, 30)) - 30 for _ in range(3)]
    gradient = (0.7, -0.4, 0.5)
    a = compute_dvh(tube(n=60), grid_of(linear(gradient)), uncertainty=False)
    b = compute_dvh(tube(n=60), grid_of(linear(gradient), axes), uncertainty=False)
    np.testing.assert_allclose(read(b), read(a), atol=NEAR_MM)
    assert b.is_complete


@pytest.mark.parametrize("pitch", [0.1, 0.25])
def test_finer_pitch_agrees(pitch):
    """D0.035cc against a pitch of 0.05 mm, in a dose with 2.5 Gy/mm."""
    grid = grid_of(smooth)
    fine = compute_dvh(tube(n=90), grid, uncertainty=False, pitch_mm=0.05)
    here = compute_dvh(tube(n=90), grid, uncertainty=False, pitch_mm=pitch)
    np.testing.assert_allclose(read(here), read(fine), atol=NEAR_MM * SMOOTH_GRADIENT)


# --- coverage ---


def cut_grid(axis, at, side):
    axes = [np.arange(-25.0, 26.0, 2.5) for _ in range(3)]
    kept = axes[axis]
    kept = np.r_[kept[kept < at], at] if side == "below" else np.r_[at, kept[kept > at]]
    axes[axis] = kept
    return grid_of(linear((0.5, 0.0, 0.0)), axes)


@pytest.mark.parametrize("side", ["below", "above"])
@pytest.mark.parametrize(("axis", "at"), [(0, 1.3), (1, -2.2), (2, 2.9)])
def test_partly_covered_volume(axis, at, side):
    """In x exact; in y and z lines are in or out as a whole: half a pitch of 0.25 mm."""
    dvh = compute_dvh(box(between="slab"), cut_grid(axis, at, side), uncertainty=False)
    size = UPPER - LOWER
    inside = (at - LOWER[axis]) if side == "below" else (UPPER[axis] - at)
    expected = inside / size[axis]
    tolerance = ROUNDING if axis == 0 else 0.125 / size[axis]
    assert dvh.covered_fraction == pytest.approx(expected, abs=tolerance)
    assert dvh.total_volume_cc == pytest.approx(2.1, rel=ROUNDING)
    assert not dvh.is_complete


def test_nothing_covered():
    axes = [np.arange(100.0, 120.0, 2.5) for _ in range(3)]
    dvh = compute_dvh(box(), grid_of(linear((0.5, 0, 0)), axes))
    assert dvh.covered_volume_cc == 0
    assert dvh.total_volume_cc == pytest.approx(2.1, rel=ROUNDING)
    assert np.isnan(dvh.max_gy)


def test_a_grid_of_one_plane_covers_nothing():
    axes = [np.arange(-25.0, 26.0, 2.5), np.arange(-25.0, 26.0, 2.5), np.array([0.0])]
    assert compute_dvh(box(), grid_of(linear((0.5, 0, 0)), axes)).covered_volume_cc == 0


def z_grid(first, last, spacing=3.0):
    axes = [np.arange(-25.0, 26.0, 2.5), np.arange(-25.0, 26.0, 2.5)]
    return grid_of(linear((0.0, 0.0, 1.0)), [*axes, np.arange(first, last + 0.1, spacing)])


def test_caps_just_beyond_the_grid_are_held():
    """Planes from -7.5 to 10.5 and the grid ends with them: the caps take the outermost dose."""
    dvh = compute_dvh(box(), z_grid(-7.5, 10.5), uncertainty=False)
    assert dvh.is_complete
    assert dvh.max_gy == pytest.approx(70.5)
    assert dvh.min_gy == pytest.approx(52.5)
    # The cap of 1.5 mm x 100 mm2 is at the dose of the plane.
    assert dvh.dose_of_hottest_gy(0.035) == pytest.approx(70.5, abs=0.01)


@pytest.mark.parametrize(
    ("first", "last"), [(-7.4, 10.6), (-7.5, 7.5), (-4.5, 10.5)], ids=["0.1 mm", "top", "bottom"]
)
def test_planes_beyond_the_grid_are_not_held(first, last):
    dvh = compute_dvh(box(), z_grid(first, last), uncertainty=False)
    assert not dvh.is_complete
    assert dvh.covered_volume_cc < 2.1


def test_caps_that_reach_farther_than_half_a_voxel_are_not_held():
    dvh = compute_dvh(box(), z_grid(-7.5, 10.5, spacing=1.0), uncertainty=False)
    assert dvh.covered_volume_cc == pytest.approx(1.8, abs=0.0125)  # 18 of 21 mm; half a pitch


# --- uncertainty ---


def test_uncertainty_names_its_sources():
    dvh = compute_dvh(tube(), grid_of(smooth))
    sources = ["dose grid", "quadrature", "end caps", "between planes"]
    assert [a.source for a in dvh.alternatives] == sources


def test_linear_dose_has_no_grid_uncertainty():
    """A cubic spline through samples of a linear function is that function."""
    dvh = compute_dvh(tube(), grid_of(linear((0.5, 0.3, 0.2))))
    grid = dvh.alternatives[0]
    assert grid.reference is not None
    np.testing.assert_allclose(
        read(grid.dvh), read(grid.reference), atol=2.5e-3
    )  # its bins: 40 Gy / 16,000


def test_cubic_refinement_keeps_the_samples():
    grid = grid_of(smooth, spacing=5.0, half=15.0)
    fine = refine_cubic(grid)
    assert fine is not None
    places = [np.searchsorted(f, a - 1e-9) for f, a in
              zip(fine.geometry.axes, grid.geometry.axes, strict=True)]  # fmt: skip
    np.testing.assert_allclose(fine.values[np.ix_(*places)], grid.values, atol=1e-9)


def test_uncertainty_grows_with_the_spacing():
    """Between samples of a bent dose, trilinear is off by spacing^2: 1 mm to 3 mm is ninefold."""
    spread = []
    for spacing in (1.0, 3.0):
        dvh = compute_dvh(tube(), grid_of(smooth, spacing=spacing))
        cubic = dvh.alternatives[0]
        spread.append(abs(read(cubic.dvh)[2] - read(cubic.reference)[2]))
    assert spread[1] > 3 * spread[0]


def test_only_the_block_around_the_solid_is_read():
    asked = []
    grid = grid_of(smooth, spacing=1.0, half=60.0)

    def load(slices):
        asked.append([s.stop - s.start for s in slices])
        return grid.values[slices]

    compute_dvh(box(), DoseGrid(grid.geometry, load), uncertainty=False)
    size = np.ceil(UPPER - LOWER)[::-1]
    # One sample either side, and one because the box may begin between samples.
    assert (np.array(asked) <= size + 4).all()


def test_no_volume_gets_more_than_the_maximum():
    """On a face of 10 cm2 the hottest 0.035 cc are 0.035 mm thick, a seventh of a sub-slice."""
    z = np.arange(-9.0, 10.0, 3.0)
    slab = solid_of([ring(rectangle((-16, -16), (16, 16)), float(v)) for v in z])
    dvh = compute_dvh(slab, grid_of(linear((0, 0, 1))), uncertainty=False)
    assert dvh.dose_of_hottest_gy(0.035) <= dvh.max_gy


def test_beyond_the_ends_the_outermost_cells_go_on():
    axis = np.array([0.0, 2.0, 5.0])
    index, share = cell(axis, np.array([-1.0, 0.0, 1.0, 2.0, 4.25, 5.0, 6.5]))
    assert index.tolist() == [0, 0, 0, 1, 1, 1, 1]
    assert share == pytest.approx([-0.5, 0.0, 0.5, 0.0, 0.75, 1.0, 1.5])
