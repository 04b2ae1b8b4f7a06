"""A cord and a sphere in a linear dose, with the exact dose-volume relation beside them."""

from __future__ import annotations

import numpy as np

from cordgap.case.case import Case, Prescription
from cordgap.case.grid import DoseGrid
from cordgap.case.structure import Structure
from cordgap.errors import OptionError, OutOfRangeError
from cordgap.phantom.shapes import (
    CordShape,
    FloatArray,
    LinearDose,
    Sampling,
    SphereShape,
    at_height,
    circle,
    cord_contours,
    dose_geometry,
    dose_grid,
    gauss_legendre,
    make_case,
    make_structure,
    segment_area,
    slab_centres,
)

_N_NODES = 2000


def cord_in_linear_dose(
    *,
    cord: CordShape | None = None,
    dose: LinearDose | None = None,
    sampling: Sampling | None = None,
) -> Case:
    """Make a cord in a linear dose; :func:`exact_cord_dose_gy` knows the answer.

    Contour planes lie at the centres of slabs, so that half-slice ends give the exact length;
    the vertices lie on the circle, so that the polygons' area is smaller by the factor
    ``sin(a) / a``, ``a = 2 pi / vertices`` (0.08 % at 90).

    Raises
    ------
    OptionError
        When the length is no multiple of the plane spacing, or the dose would be negative
        next to the cord.
    """
    cord, dose = cord or CordShape(), dose or LinearDose()
    sampling = sampling or Sampling()
    z = slab_centres(cord.half_length_mm, sampling.plane_spacing_mm)
    contours = cord_contours(cord, z, cord.radius_mm, sampling.vertices)
    structure = make_structure(1, "SpinalCord", contours)
    origin = np.array([*cord.centre_mm, 0.0])
    grid = _linear_dose(dose, origin, structure, sampling)
    return make_case("cord-in-linear-dose", (structure,), grid, _round_prescription(dose))


def exact_cord_dose_gy(volume_cc: float, *, cord: CordShape, dose: LinearDose) -> float:
    """Return the dose that the hottest ``volume_cc`` of the exact cord gets at least.

    The volume above a dose is the integral over z of the circular segment beyond the isodose
    line, by 2000-point Gauss-Legendre quadrature (relative error below 1e-6). The coldest
    ``v`` cc gets at most ``exact_cord_dose_gy(cord.volume_cc - v, ...)``.
    """
    from scipy.optimize import brentq

    _check_volume(volume_cc, cord.volume_cc)
    half = cord.half_length_mm
    gx, gy, gz = dose.gradient_gy_per_mm
    in_plane = float(np.hypot(gx, gy))
    if in_plane == 0.0:  # dose depends on z alone: the hottest volume is a slab at one end
        length = volume_cc * 1000 / (np.pi * cord.radius_mm**2)
        return float(dose.at_centre_gy + abs(gz) * (half - length))
    nodes, weights = gauss_legendre(_N_NODES)
    z = nodes * half
    shift = cord.centre_at(z) - np.array(cord.centre_mm)
    at_axis = dose.at_centre_gy + shift @ np.array([gx, gy]) + gz * z
    reach = in_plane * cord.radius_mm

    def excess(level_gy: float) -> float:
        area = segment_area(cord.radius_mm, (level_gy - at_axis) / in_plane)
        return float(weights @ area) * half / 1000 - volume_cc

    low, high = float(at_axis.min() - reach), float(at_axis.max() + reach)
    return float(brentq(excess, low - 1e-6, high + 1e-6, xtol=1e-10))


def sphere(
    *,
    shape: SphereShape | None = None,
    dose: LinearDose | None = None,
    sampling: Sampling | None = None,
) -> Case:
    """Make a spherical target in a linear dose; :func:`exact_sphere_dose_gy` knows the answer.

    Raises
    ------
    OptionError
        When the diameter is no multiple of the plane spacing, or the dose would be negative.
    """
    shape, dose = shape or SphereShape(), dose or LinearDose()
    sampling = sampling or Sampling()
    x, y, z0 = shape.centre_mm
    contours = []
    for z in slab_centres(shape.radius_mm, sampling.plane_spacing_mm):
        radius = float(np.sqrt(shape.radius_mm**2 - z * z))
        contours.append(at_height(circle(x, y, radius, sampling.vertices), z0 + z))
    structure = make_structure(1, "GTV", contours)
    grid = _linear_dose(dose, np.array(shape.centre_mm), structure, sampling)
    return make_case("sphere", (structure,), grid, _round_prescription(dose))


def exact_sphere_dose_gy(volume_cc: float, *, shape: SphereShape, dose: LinearDose) -> float:
    """Return the dose that the hottest ``volume_cc`` of the exact sphere gets at least.

    A cap of height h has the volume ``pi h**2 (3 r - h) / 3``.
    """
    from scipy.optimize import brentq

    _check_volume(volume_cc, shape.volume_cc)
    radius, slope = shape.radius_mm, float(np.linalg.norm(dose.gradient_gy_per_mm))

    def excess(height: float) -> float:
        return float(np.pi * height**2 * (3 * radius - height) / 3000 - volume_cc)

    height = float(brentq(excess, 0.0, 2 * radius, xtol=1e-12))
    return float(dose.at_centre_gy + slope * (radius - height))


def _linear_dose(
    dose: LinearDose, origin: FloatArray, structure: Structure, sampling: Sampling
) -> DoseGrid:
    lower, upper = structure.bounds_mm
    geometry = dose_geometry(lower, upper, sampling)
    gradient = np.array(dose.gradient_gy_per_mm)
    zz, yy, xx = np.meshgrid(*geometry.axes, indexing="ij", sparse=True)
    values = dose.at_centre_gy + (
        gradient[0] * (xx - origin[0])
        + gradient[1] * (yy - origin[1])
        + gradient[2] * (zz - origin[2])
    )
    pad = np.array([0.0, 0.0, sampling.plane_spacing_mm])
    near = values[geometry.slices_around(lower - pad, upper + pad, pad=1)]
    if near.min() < 0:
        raise OptionError(
            f"the linear dose falls to {near.min():.2f} Gy next to the structure; "
            "raise at_centre_gy or lower the gradient"
        )
    return dose_grid(geometry, np.maximum(values, 0.0))


def _round_prescription(dose: LinearDose) -> Prescription:
    return Prescription(dose.at_centre_gy, 1, "phantom")


def _check_volume(volume_cc: float, total_cc: float) -> None:
    if not 0 < volume_cc < total_cc:
        raise OutOfRangeError(
            f"the volume must lie between 0 and {total_cc:.4f} cc, found {volume_cc:g} cc"
        )
