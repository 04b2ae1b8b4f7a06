"""A spinal metastasis beside the cord: contours, dose, prescription and a CT."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from cordgap.case.case import Case, Prescription
from cordgap.case.grid import DoseGrid, GridGeometry
from cordgap.errors import OptionError
from cordgap.phantom.ct import paint_spine
from cordgap.phantom.shapes import (
    Epidural,
    FloatArray,
    Sampling,
    SpineAnatomy,
    SpineDose,
    at_height,
    circle,
    cord_contours,
    dose_geometry,
    dose_grid,
    ellipse,
    make_case,
    make_structure,
    slab_centres,
)

_MIN_EPIDURAL_MM = 0.5
_CT_SPACING_MM = 0.8
_CT_HALF_WIDTH_MM = 102.0


def spine_case(
    *,
    anatomy: SpineAnatomy | None = None,
    epidural: Epidural | None = None,
    dose: SpineDose | None = None,
    sampling: Sampling | None = None,
    image: bool = True,
) -> Case:
    """Make a spinal metastasis beside the cord, with dose, prescription and a CT.

    Structures: GTV, SpinalCord, SpinalCord_PRV02, ThecalSac, SpinalCanal, External. The target is
    the vertebral body with the epidural part; ``circumferential`` is a ring, as an outer and an
    inner contour on each plane.

    Returns
    -------
    Case
        The gap between cord and target is known (:class:`Epidural`), as are dose and gradient on
        the cord surface where it faces the target (:class:`SpineDose`, within 2 %).

    Raises
    ------
    OptionError
        When the gap leaves no tumour in the canal, or the dose parameters make no sense.
    """
    anatomy, epidural = anatomy or SpineAnatomy(), epidural or Epidural()
    dose, sampling = dose or SpineDose(), sampling or Sampling()
    cord = anatomy.cord
    _check_epidural(anatomy, epidural)
    z = slab_centres(cord.half_length_mm, sampling.plane_spacing_mm)
    n = sampling.vertices
    inside = z[np.abs(z) < anatomy.vertebra_half_length_mm]
    target = [
        at_height(outline, height)
        for height in inside
        for outline in _target_outlines(anatomy, epidural, float(height), n)
    ]
    sac = [at_height(_sac_outline(anatomy, epidural, float(h), n), float(h)) for h in z]
    canal = ellipse(anatomy.canal_centre_mm, anatomy.canal_half_mm, n)
    body = ellipse((0.0, 0.0), anatomy.body_half_mm, 180)
    structures = (
        make_structure(1, "GTV", target, (255, 0, 0)),
        make_structure(2, "SpinalCord", cord_contours(cord, z, cord.radius_mm, n), (255, 255, 0)),
        make_structure(3, "SpinalCord_PRV02", cord_contours(cord, z, cord.radius_mm + 2, n)),
        make_structure(4, "ThecalSac", sac, (0, 200, 255)),
        make_structure(5, "SpinalCanal", [at_height(canal, float(h)) for h in z], (0, 120, 255)),
        make_structure(6, "External", [at_height(body, float(h)) for h in z], (0, 255, 0)),
    )
    grid = _spine_dose(anatomy, epidural, dose, sampling)
    prescription = Prescription(dose.prescription_gy, dose.fractions, "phantom")
    ct = paint_spine(_ct_geometry(anatomy, z), anatomy, structures[0]) if image else None
    return make_case(f"spine-{epidural.kind}", structures, grid, prescription, ct)


def _rays(degrees: ArrayLike) -> FloatArray:
    angle = np.radians(np.asarray(degrees, dtype=np.float64))
    return np.stack([np.sin(angle), -np.cos(angle)], axis=-1)


def _canal_reach(anatomy: SpineAnatomy, z_mm: float, degrees: ArrayLike) -> FloatArray:
    """Distance from the cord's centre to the canal wall along each direction."""
    half = np.array(anatomy.canal_half_mm)
    start = (anatomy.cord.centre_at(z_mm) - np.array(anatomy.canal_centre_mm)) / half
    ray = _rays(degrees) / half
    a, b = (ray**2).sum(axis=-1), (ray * start).sum(axis=-1)
    c = float((start**2).sum()) - 1.0
    return np.asarray((-b + np.sqrt(b * b - a * c)) / a)


def _canal_wall(anatomy: SpineAnatomy, z_mm: float, degrees: ArrayLike) -> FloatArray:
    reach = _canal_reach(anatomy, z_mm, degrees)
    return np.asarray(anatomy.cord.centre_at(z_mm) + reach[..., None] * _rays(degrees))


def _junction(anatomy: SpineAnatomy, z_mm: float, side: int) -> float:
    """Direction, from the cord, in which the vertebral body's ellipse leaves the canal wall."""
    from scipy.optimize import brentq

    centre, half = np.array(anatomy.vertebra_centre_mm), np.array(anatomy.vertebra_half_mm)

    def outside(degrees: float) -> float:
        point = np.abs(_canal_wall(anatomy, z_mm, degrees) - centre) / half
        return float((point**anatomy.vertebra_power).sum()) - 1.0

    return float(brentq(outside, 0.0, side * 150.0))


def _vertebra_arc(
    anatomy: SpineAnatomy, first: FloatArray, last: FloatArray, vertices: int
) -> FloatArray:
    centre, half = np.array(anatomy.vertebra_centre_mm), np.array(anatomy.vertebra_half_mm)
    bend = anatomy.vertebra_power / 2
    ends = [_signed_power((point - centre) / half, bend) for point in (first, last)]
    start, stop = (float(np.arctan2(point[0], -point[1])) for point in ends)
    phi = np.linspace(start, stop, vertices)
    unit = _signed_power(np.column_stack([np.sin(phi), -np.cos(phi)]), 1 / bend)
    return np.asarray(centre + half * unit)


def _signed_power(values: FloatArray, exponent: float) -> FloatArray:
    return np.asarray(np.sign(values) * np.abs(values) ** exponent)


def _target_outlines(
    anatomy: SpineAnatomy, epidural: Epidural, z_mm: float, vertices: int
) -> list[FloatArray]:
    """Vertebral body and epidural part on one plane; a ring gives an outer and an inner contour."""
    left, right = _junction(anatomy, z_mm, +1), _junction(anatomy, z_mm, -1)
    wall = _canal_wall(anatomy, z_mm, [left, right])
    arc = _vertebra_arc(anatomy, wall[0], wall[1], vertices)
    steps = max(vertices // 2, 8)
    kind = epidural.kind if abs(z_mm) < epidural.half_length_mm else "none"
    if kind == "none":
        inner = _canal_wall(anatomy, z_mm, np.linspace(right, left, steps)[1:-1])
        return [np.concatenate([inner, arc])]
    centre = anatomy.cord.centre_at(z_mm)
    radius = anatomy.cord.radius_mm + epidural.gap_mm
    if kind == "circumferential":
        back = _canal_wall(anatomy, z_mm, np.linspace(right, left - 360.0, 2 * steps)[1:-1])
        hole = circle(float(centre[0]), float(centre[1]), radius, vertices)
        return [np.concatenate([arc, back]), hole]
    first, last = epidural.sector_deg()
    inner = centre + radius * _rays(np.linspace(first, last, vertices))
    down = _canal_wall(anatomy, z_mm, np.linspace(last, left, steps)[:-1])
    back = _canal_wall(anatomy, z_mm, np.linspace(right, first, steps)[1:])
    return [np.concatenate([inner, down, arc, back])]


def _sac_outline(
    anatomy: SpineAnatomy, epidural: Epidural, z_mm: float, vertices: int
) -> FloatArray:
    """Thecal sac: 1 mm inside the canal, pushed to the cord's side of the tumour."""
    degrees = np.linspace(-180.0, 180.0, 2 * vertices, endpoint=False)
    reach = _canal_reach(anatomy, z_mm, degrees) - 1.0
    if epidural.kind != "none" and abs(z_mm) < epidural.half_length_mm:
        pushed = np.minimum(reach, anatomy.cord.radius_mm + epidural.gap_mm)
        if epidural.kind == "circumferential":
            reach = pushed
        else:
            first, last = epidural.sector_deg()
            reach = np.where((degrees >= first) & (degrees <= last), pushed, reach)
    reach = np.maximum(reach, anatomy.cord.radius_mm)
    return np.asarray(anatomy.cord.centre_at(z_mm) + reach[:, None] * _rays(degrees))


def _check_epidural(anatomy: SpineAnatomy, epidural: Epidural) -> None:
    if epidural.kind == "none":
        return
    if epidural.gap_mm < 0:
        raise OptionError(f"the gap must not be negative, found {epidural.gap_mm:g} mm")
    sector = (-180.0, 180.0) if epidural.kind == "circumferential" else epidural.sector_deg()
    degrees = np.linspace(*sector, 181)
    half = min(epidural.half_length_mm, anatomy.vertebra_half_length_mm)
    heights = np.linspace(-half, half, 9)
    reach = min(float(_canal_reach(anatomy, float(z), degrees).min()) for z in heights)
    largest = reach - anatomy.cord.radius_mm - _MIN_EPIDURAL_MM
    if epidural.gap_mm > largest:
        raise OptionError(
            f"a gap of {epidural.gap_mm:g} mm leaves less than {_MIN_EPIDURAL_MM:g} mm of tumour "
            f"somewhere in the canal; use at most {largest:.2f} mm, a wider canal, or kind='none'"
        )


def _spine_dose(
    anatomy: SpineAnatomy, epidural: Epidural, dose: SpineDose, sampling: Sampling
) -> DoseGrid:
    from scipy.special import ndtr, ndtri

    plateau = dose.plateau_fraction * dose.prescription_gy
    if not 0 < dose.cord_edge_gy < plateau or dose.gradient_gy_per_mm <= 0:
        raise OptionError(
            f"the dose on the cord surface must lie between 0 and the plateau {plateau:g} Gy and "
            f"rise from there, found {dose.cord_edge_gy:g} Gy, {dose.gradient_gy_per_mm:g} Gy/mm"
        )
    quantile = float(ndtri(dose.cord_edge_gy / plateau))
    normal_density = float(np.exp(-(quantile**2) / 2) / np.sqrt(2 * np.pi))
    sigma = plateau * normal_density / dose.gradient_gy_per_mm

    (vx, vy), (va, vb) = anatomy.vertebra_centre_mm, anatomy.vertebra_half_mm
    cord_half = anatomy.cord.half_length_mm
    canal_back = anatomy.canal_centre_mm[1] + anatomy.canal_half_mm[1]
    lower = np.array([vx - va - 20.0, vy - vb - 20.0, -cord_half])
    upper = np.array([vx + va + 20.0, canal_back + 20.0, cord_half])
    geometry = dose_geometry(lower, upper, sampling)
    zz, yy, xx = np.meshgrid(*geometry.axes, indexing="ij", sparse=True)

    centre = anatomy.cord.centre_at(geometry.z_mm)
    from_cord = (
        np.hypot(xx - centre[:, 0, None, None], yy - centre[:, 1, None, None])
        - anatomy.cord.radius_mm
    )
    towards_cord = ndtr(from_cord / sigma + quantile)

    # Outer falloff: an elliptic hull round the target, 6 mm wide of it, 4 mm standard deviation.
    back = {"none": vy + vb, "circumferential": canal_back}.get(
        epidural.kind, anatomy.cord.centre_mm[1]
    )
    front = vy - vb
    half_x, half_y = va, (back - front) / 2
    scaled = np.hypot((xx - vx) / half_x, (yy - (front + back) / 2) / half_y)
    outside = (scaled - 1.0) * np.sqrt(half_x * half_y)
    beyond = np.abs(zz) - anatomy.vertebra_half_length_mm
    outward = ndtr((6.0 - outside) / 4.0) * ndtr((6.0 - beyond) / 4.0)
    return dose_grid(geometry, plateau * towards_cord * outward)


def _ct_geometry(anatomy: SpineAnatomy, z_mm: FloatArray) -> GridGeometry:
    """Field of view of a spine protocol: the middle of the body, on the contour planes."""
    across = np.arange(-_CT_HALF_WIDTH_MM, _CT_HALF_WIDTH_MM, _CT_SPACING_MM)
    back = anatomy.body_half_mm[1] + 4.0
    return GridGeometry(across, np.arange(back - 2 * _CT_HALF_WIDTH_MM, back, _CT_SPACING_MM), z_mm)
