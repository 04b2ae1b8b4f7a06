"""The phantoms know their answers: closed forms against brute force, and nothing moves."""

from __future__ import annotations

import numpy as np
import pytest

from cordgap.case.case import Case
from cordgap.errors import OptionError, OutOfRangeError
from cordgap.phantom import (
    CordShape,
    Epidural,
    LinearDose,
    Sampling,
    SphereShape,
    SpineAnatomy,
    SpineDose,
    cord_in_linear_dose,
    exact_cord_dose_gy,
    exact_sphere_dose_gy,
    sphere,
    spine_case,
)

BENT = CordShape(5.0, (0.37, -0.61), tilt=(0.05, 0.27), bend_per_mm=(0.0, 0.01))
SKEW = LinearDose(40.0, (0.4, -0.8, 0.3))


def polygon_area(points: np.ndarray) -> float:
    x, y = points[:, 0], points[:, 1]
    return 0.5 * abs(float(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))))


def volume_cc(case: Case, roi_name: str, spacing_mm: float) -> float:
    """Half-slice volume; a second contour on a plane is a hole (phantoms have no islands)."""
    total = 0.0
    for plane in case.structure(roi_name).planes:
        areas = [polygon_area(contour) for contour in plane.contours]
        total += (areas[0] - sum(areas[1:])) * spacing_mm
    return total / 1000


def near_surface(case: Case, roi_name: str) -> np.ndarray:
    """Points on the contours, every edge cut into five."""
    points = []
    for plane in case.structure(roi_name).planes:
        for contour in plane.contours:
            following = np.roll(contour, -1, axis=0)
            for t in np.linspace(0, 1, 5, endpoint=False):
                xy = contour + t * (following - contour)
                points.append(np.column_stack([xy, np.full(len(xy), plane.z_mm)]))
    return np.concatenate(points)


@pytest.mark.parametrize("cord", [CordShape(), BENT])
@pytest.mark.parametrize("dose", [LinearDose(), SKEW, LinearDose(30.0, (0.0, 0.0, 0.5))])
@pytest.mark.parametrize("volume", [0.035, 0.1, 1.0])
def test_exact_cord_dose_against_a_fine_lattice(cord, dose, volume):
    # Lattice of 0.1 x 0.1 x 0.2 mm: 0.002 mm3 a point, 17500 points in 0.035 cc. Tolerance: half a
    # lattice step times the steepest gradient.
    step, dz = 0.1, 0.2
    z = np.arange(-cord.half_length_mm + dz / 2, cord.half_length_mm, dz)
    edge = np.arange(-cord.radius_mm + step / 2, cord.radius_mm, step)
    u, v = (a.ravel() for a in np.meshgrid(edge, edge))
    keep = u * u + v * v < cord.radius_mm**2
    u, v = u[keep], v[keep]
    shift = cord.centre_at(z) - np.array(cord.centre_mm)
    gx, gy, gz = dose.gradient_gy_per_mm
    gy_of = gx * (shift[:, :1] + u) + gy * (shift[:, 1:] + v) + gz * z[:, None]
    hottest = np.sort((dose.at_centre_gy + gy_of).ravel())[::-1]
    sampled = hottest[round(volume * 1000 / (step * step * dz)) - 1]
    exact = exact_cord_dose_gy(volume, cord=cord, dose=dose)
    slope = np.hypot(gx, gy) * step + abs(gz) * dz
    assert exact == pytest.approx(sampled, abs=0.5 * slope)


def test_exact_sphere_dose_at_half_the_volume_is_the_dose_at_the_centre():
    shape = SphereShape()
    half = exact_sphere_dose_gy(shape.volume_cc / 2, shape=shape, dose=SKEW)
    assert half == pytest.approx(SKEW.at_centre_gy, abs=1e-9)


def test_exact_sphere_dose_of_a_cap():
    # A cap of height 2 mm on a sphere of 12 mm: pi * 4 * 34 / 3 mm3.
    volume = np.pi * 4 * 34 / 3000
    dose = LinearDose(20.0, (0.0, -1.5, 0.0))
    found = exact_sphere_dose_gy(volume, shape=SphereShape(12.0), dose=dose)
    assert found == pytest.approx(20 + 1.5 * 10, abs=1e-9)


def test_symmetry_near_minimum_mirrors_near_maximum():
    # Straight cord, dose linear: hot and cold ends lie symmetrically round the axis dose.
    cord, dose = CordShape(), LinearDose()
    hot = exact_cord_dose_gy(0.035, cord=cord, dose=dose)
    cold = exact_cord_dose_gy(cord.volume_cc - 0.035, cord=cord, dose=dose)
    assert hot + cold == pytest.approx(2 * dose.at_centre_gy, abs=1e-6)


@pytest.mark.parametrize("volume", [0.0, -1.0, 99.0])
def test_volumes_outside_the_shape_are_refused(volume):
    with pytest.raises(OutOfRangeError, match="must lie between 0 and"):
        exact_cord_dose_gy(volume, cord=CordShape(), dose=LinearDose())
    with pytest.raises(OutOfRangeError, match="must lie between 0 and"):
        exact_sphere_dose_gy(volume, shape=SphereShape(), dose=LinearDose())


def test_cord_case_is_the_cord_it_says():
    sampling = Sampling(plane_spacing_mm=2.0, vertices=180)
    case = cord_in_linear_dose(cord=BENT, dose=SKEW, sampling=sampling)
    cord = case.structure("SpinalCord")
    assert cord.role == "cord" and len(cord.planes) == 24
    # Vertices lie on the circle: the area is smaller by sin(a)/a, exactly.
    a = 2 * np.pi / 180
    assert volume_cc(case, "SpinalCord", 2.0) == pytest.approx(
        BENT.volume_cc * np.sin(a) / a, rel=1e-9
    )
    assert case.dose is not None
    z, y, x = (axis[axis.size // 2] for axis in case.dose.geometry.axes)
    gradient = np.array(SKEW.gradient_gy_per_mm)
    expected = SKEW.at_centre_gy + gradient @ (np.array([x, y, z]) - [0.37, -0.61, 0.0])
    at = tuple(axis.size // 2 for axis in case.dose.geometry.axes)
    assert case.dose.values[at] == pytest.approx(expected, abs=1e-9)


def test_planes_and_centres_are_not_on_the_dose_grid():
    case = cord_in_linear_dose()
    assert case.dose is not None
    for plane in case.structure("SpinalCord").planes:
        assert np.abs(case.dose.geometry.z_mm - plane.z_mm).min() > 0.1


def test_sphere_case_has_the_volume_of_a_sphere():
    case = sphere(sampling=Sampling(plane_spacing_mm=0.5, vertices=360))
    # Midpoint rule over 48 slabs: relative error 1/(2 n^2) = 0.02 %; polygons 0.005 %.
    assert volume_cc(case, "GTV", 0.5) == pytest.approx(SphereShape().volume_cc, rel=4e-4)


def test_a_length_that_slabs_cannot_fill_is_refused():
    with pytest.raises(OptionError, match="no multiple of the plane spacing"):
        cord_in_linear_dose(sampling=Sampling(plane_spacing_mm=1.7))


def test_a_negative_dose_next_to_the_structure_is_refused():
    with pytest.raises(OptionError, match="raise at_centre_gy or lower the gradient"):
        cord_in_linear_dose(dose=LinearDose(5.0, (0.0, -3.0, 0.0)))


@pytest.mark.parametrize("kind", ["anterior", "anterolateral", "circumferential"])
@pytest.mark.parametrize("gap", [0.0, 1.0, 2.0])
def test_spine_gap_is_the_gap_asked_for(kind, gap):
    anatomy = SpineAnatomy()
    case = spine_case(anatomy=anatomy, epidural=Epidural(kind, gap), image=False)
    points = near_surface(case, "GTV")
    away = points[:, :2] - anatomy.cord.centre_at(points[:, 2])
    in_plane = np.hypot(*away.T) - anatomy.cord.radius_mm
    # Chords of the polygon come closer than its vertices by at most r (1 - cos(pi / 90)).
    assert in_plane.min() == pytest.approx(gap, abs=0.01)


def test_spine_gap_in_space_is_the_gap_in_the_plane():
    # Tilt up to 0.035: 3D distance smaller by 0.06 %, so 0.002 mm of 2 mm. The sampling of the
    # cord surface (0.5 mm along z, 0.35 mm round) adds up to 0.05 mm.
    anatomy = SpineAnatomy()
    case = spine_case(anatomy=anatomy, epidural=Epidural("anterior", 2.0), image=False)
    z = np.arange(-14, 14, 0.5)
    angle = np.linspace(0, 2 * np.pi, 100, endpoint=False)
    ring = anatomy.cord.radius_mm * np.column_stack([np.cos(angle), np.sin(angle)])
    surface = np.concatenate(
        [np.column_stack([anatomy.cord.centre_at(h) + ring, np.full(len(ring), h)]) for h in z]
    )
    from scipy.spatial import cKDTree

    distance, _ = cKDTree(surface).query(near_surface(case, "GTV"))
    assert distance.min() == pytest.approx(2.0, abs=0.05)


@pytest.mark.parametrize(("side", "sign"), [("left", 1), ("right", -1)])
def test_anterolateral_lies_on_the_side_asked_for(side, sign):
    anatomy = SpineAnatomy()
    epidural = Epidural("anterolateral", 1.0, side)
    case = spine_case(anatomy=anatomy, epidural=epidural, image=False)
    points = near_surface(case, "GTV")
    away = points[:, :2] - anatomy.cord.centre_at(points[:, 2])
    beside = away[np.hypot(*away.T) < anatomy.cord.radius_mm + 1.05]
    assert sign * beside[:, 0].mean() > 1.0  # patient left is +x


def test_ring_has_an_outer_and_an_inner_contour():
    case = spine_case(epidural=Epidural("circumferential", 1.0, half_length_mm=99.0), image=False)
    for plane in case.structure("GTV").planes:
        outer, inner = plane.contours
        assert polygon_area(outer) > polygon_area(inner)
        assert polygon_area(inner) == pytest.approx(np.pi * 6.5**2, rel=1e-3)


def test_no_contour_crosses_itself():
    from shapely.geometry import Polygon

    for kind in ("none", "anterior", "anterolateral", "circumferential"):
        case = spine_case(epidural=Epidural(kind, 1.0), image=False)
        for structure in case.structures:
            for plane in structure.planes:
                assert all(Polygon(contour).is_valid for contour in plane.contours), kind


@pytest.mark.parametrize("kind", ["anterior", "circumferential"])
def test_spine_dose_on_the_cord_surface(kind):
    anatomy, dose = SpineAnatomy(), SpineDose(cord_edge_gy=16.0, gradient_gy_per_mm=2.0)
    sampling = Sampling(dose_spacing_mm=1.0)
    case = spine_case(
        anatomy=anatomy, epidural=Epidural(kind), dose=dose, sampling=sampling, image=False
    )
    assert case.dose is not None
    from scipy.interpolate import RegularGridInterpolator

    at = RegularGridInterpolator(case.dose.geometry.axes, case.dose.values)
    x, y = anatomy.cord.centre_at(0.0)
    facing = [(0.0, y - 5.5 - t, x) for t in (0.0, 1.0)]
    edge, further = at(facing)
    # 2 % by construction, 1 % for trilinear samples of a curved field at 1 mm.
    assert edge == pytest.approx(16.0, rel=0.03)
    assert further - edge == pytest.approx(2.0, rel=0.1)


def test_spine_structures_have_their_roles():
    case = spine_case(image=False)
    roles = {s.role for s in case.structures}
    assert roles == {"gtv", "cord", "cord_prv", "thecal_sac", "canal", "body"}
    assert case.prescription is not None and case.prescription.source == "phantom"


def test_too_wide_a_gap_is_refused_with_the_widest():
    with pytest.raises(OptionError, match=r"use at most \d\.\d\d mm"):
        spine_case(epidural=Epidural("circumferential", 6.0), image=False)


def test_senseless_dose_is_refused():
    with pytest.raises(OptionError, match="between 0 and the plateau"):
        spine_case(dose=SpineDose(cord_edge_gy=99.0), image=False)


def test_image_has_bone_canal_cord_and_air_where_they_belong():
    anatomy = SpineAnatomy()
    case = spine_case(anatomy=anatomy)
    assert case.image is not None
    grid, hu = case.image.geometry, case.image.values

    def mean(x: float, y: float, z: float, reach_mm: float = 2.0) -> float:
        reach = np.array([reach_mm, reach_mm, 0.1])
        box = grid.slices_around(np.array([x, y, z]) - reach, np.array([x, y, z]) + reach, pad=0)
        return float(hu[box].mean())

    x, y = anatomy.cord.centre_at(20.0)
    assert mean(x, y, 20.0) == pytest.approx(44, abs=5)  # cord
    csf = mean(x, anatomy.canal_centre_mm[1] + 7.2, 20.0, 0.4)
    assert csf < mean(x, y, 20.0) - 10  # the canal is darker than the cord
    vx, vy = anatomy.vertebra_centre_mm
    assert mean(vx, vy - 5, 5.0) > 100  # vertebral body
    assert mean(vx, vy, 16.0) < 120  # disc
    assert mean(vx, 103.0, 0.0, 0.5) < -900  # air behind the back


def test_phantoms_are_deterministic():
    first, second = spine_case(), spine_case()
    assert first.image is not None and second.image is not None
    assert first.dose is not None and second.dose is not None
    assert np.array_equal(first.image.values, second.image.values)
    assert np.array_equal(first.dose.values, second.dose.values)
    for a, b in zip(first.structures, second.structures, strict=True):
        for p, q in zip(a.planes, b.planes, strict=True):
            assert all(np.array_equal(c, d) for c, d in zip(p.contours, q.contours, strict=True))


def test_arrays_are_read_only():
    case = spine_case()
    assert case.image is not None and case.dose is not None
    with pytest.raises(ValueError, match="read-only"):
        case.image.values[0, 0, 0] = 0
    with pytest.raises(ValueError, match="read-only"):
        case.dose.values[0, 0, 0] = 0
