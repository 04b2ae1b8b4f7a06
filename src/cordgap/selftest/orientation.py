"""Left, right, front, back, head and feet of a patient in every position on the table."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from cordgap.case.case import Case, Prescription
from cordgap.case.grid import CtImage, DoseGrid, FloatArray, GridGeometry, ScalarGrid
from cordgap.check.selftest import CONTOUR_MM, GAP_MM, HU, POINT_GY, Row
from cordgap.dicom.read import read_case
from cordgap.export.plan import ORIENTATIONS, write_plan
from cordgap.phantom.bodies import ball
from cordgap.phantom.shapes import (
    CordShape,
    Sampling,
    cord_contours,
    dose_geometry,
    make_case,
    make_structure,
    slab_centres,
)
from cordgap.selftest.rows import Known, attempt
from cordgap.separation.anatomy import survey
from cordgap.separation.gap import summarise_sextants
from cordgap.separation.result import SEXTANTS

_CORD = CordShape(5.0, (0.37, 45.31), half_length_mm=18.0)
_BALL_MM, _GAP_MM, _REMOVED_MM = 7.0, 0.8, 3.0
_SAMPLING = Sampling(plane_spacing_mm=2.0, vertices=120, dose_spacing_mm=2.5)
# Off the middle of a sextant, so that a mirrored direction is another one; and above the middle.
_OFF_MIDDLE_DEG, _HEIGHT_MM = 7.0, 4.25
# Every sextant head first supine; elsewhere one on each side, in front and behind.
_ELSEWHERE = ("left anterolateral", "right posterolateral")
# Points off every plane of symmetry, and a field whose slope differs along x, y and z.
_POINTS_MM = np.array([[-9.3, 41.7, -11.2], [8.1, 48.9, 7.4], [4.7, 37.3, -2.9]])
_SLOPE = np.array([0.31, -0.17, 0.23])
_AT_ORIGIN_GY = 40.0


def orientation_rows(folder: Path) -> Iterator[Row]:
    """Return rows of a spherical tumour beside a cord, in every position and on every side."""
    for position in ORIENTATIONS:
        for sextant in SEXTANTS if position == "HFS" else _ELSEWHERE:
            known = Known("orientation", f"position {position}, tumour {sextant}", position)
            yield from attempt(
                known,
                lambda k=known, s=sextant: _in_position(k, s, folder),  # type: ignore[misc]
            )


def _phantom(sextant: str, position: str) -> Case:
    """Make the phantom, with a dose and a CT that rise along x, y and z."""
    angle = np.radians(60.0 * SEXTANTS.index(sextant) + _OFF_MIDDLE_DEG)
    away = _CORD.radius_mm + _GAP_MM + _BALL_MM
    (x, y), dx, dy = _CORD.centre_mm, away * np.sin(angle), -away * np.cos(angle)
    tumour = ball(2 * _BALL_MM, (float(x + dx), float(y + dy), _HEIGHT_MM))
    z = slab_centres(_CORD.half_length_mm, _SAMPLING.plane_spacing_mm)
    heights = np.arange(-6.0, 7.0) + 0.0
    cord = cord_contours(_CORD, z, _CORD.radius_mm, _SAMPLING.vertices)
    structures = (
        make_structure(1, "SpinalCord", cord),
        make_structure(2, "GTV", tumour.contours(heights, 0.3)),
    )
    lower, upper = np.array([x - 25.0, y - 25.0, -18.0]), np.array([x + 25.0, y + 25.0, 18.0])
    grid = dose_geometry(lower, upper, _SAMPLING)
    dose = DoseGrid.from_array(grid, _field(grid, _AT_ORIGIN_GY))
    scan = GridGeometry(np.arange(-40.0, 41.0, 4.0), np.arange(-9.0, 99.0, 3.0), z)
    image = CtImage.from_array(scan, np.rint(20 * _field(scan, 0.0)))
    case = make_case("orientation", structures, dose, Prescription(24.0, 2, "phantom"), image)
    return replace(case, patient_position=position)


def _field(geometry: GridGeometry, at_origin: float) -> FloatArray:
    """Sample the field that is linear along x, y and z."""
    zz, yy, xx = np.meshgrid(*geometry.axes, indexing="ij", sparse=True)
    return np.asarray(at_origin + _SLOPE[0] * xx + _SLOPE[1] * yy + _SLOPE[2] * zz)


def _in_position(known: Known, sextant: str, folder: Path) -> list[Row]:
    assert known.position is not None
    case = _phantom(sextant, known.position)
    write_plan(case, folder / "position")
    again = read_case(folder / "position")
    rows = [known.same("patient position", again.patient_position or "none", known.position)]
    rows += _written(known, case, again)
    return rows + _points(known, again) + _sides(known, again, sextant)


def _written(known: Known, case: Case, again: Case) -> list[Row]:
    """Hold contours and CT of a position against what was written."""
    off = max(
        float(np.abs(_sorted(a) - _sorted(b)).max())
        for one, two in zip(case.structures, again.structures, strict=True)
        for p, q in zip(one.planes, two.planes, strict=True)
        for a, b in zip(p.contours, q.contours, strict=True)
    )
    rows = [
        known.number("contour points", off, 0.0, limit=CONTOUR_MM, limit_id="contour", unit="mm")
    ]
    assert case.image is not None
    if again.image is None:
        return [*rows, known.missing("CT numbers", "point-hu", "no CT was read")]
    worst = np.abs(_at_points(case.image) - _at_points(again.image)).max()
    rows.append(
        known.number("CT numbers", float(worst), 0.0, limit=HU, limit_id="point-hu", unit="HU")
    )
    return rows


def _sorted(ring: FloatArray) -> FloatArray:
    """Order points by angle around their middle: a reader may begin a contour elsewhere."""
    away = ring - ring.mean(axis=0)
    return np.asarray(ring[np.argsort(np.arctan2(away[:, 1], away[:, 0]))])


def _points(known: Known, case: Case) -> list[Row]:
    """Hold the dose at points against the linear field."""
    assert case.dose is not None
    expected = _AT_ORIGIN_GY + _POINTS_MM @ _SLOPE
    return [
        known.number(
            f"dose at ({x:g}, {y:g}, {z:g}) mm", float(found), float(truth), limit=POINT_GY,
            limit_id="point-dose", unit="Gy",
        )
        for (x, y, z), found, truth in zip(
            _POINTS_MM, _at_points(case.dose), expected, strict=True
        )
    ]  # fmt: skip


def _at_points(grid: ScalarGrid) -> FloatArray:
    """Interpolate linearly, with scipy: shares nothing with the histogram."""
    from scipy.interpolate import RegularGridInterpolator

    read = RegularGridInterpolator(grid.geometry.axes, grid.values)
    return np.asarray(read(_POINTS_MM[:, ::-1]))


def _sides(known: Known, case: Case, sextant: str) -> list[Row]:
    """Hold gap, sextants and height against where the tumour is."""
    cord, gtv = case.structure("SpinalCord"), case.structure("GTV")
    anatomy = survey(case, cord, gtv, max_mm=_REMOVED_MM)
    rows = [
        known.number(
            "gap", anatomy.gap.separation_mm, _GAP_MM, limit=GAP_MM, limit_id="gap", unit="mm"
        )
    ]
    gaps = {s.name: s.gap_mm for s in summarise_sextants(anatomy.map)}
    near = min((np.inf if gap is None else gap, name) for name, gap in gaps.items())[1]
    rows.append(known.same("sextant of the smallest gap", near, sextant))
    removed = anatomy.cells.resection_by_sextant_cc(_REMOVED_MM)
    most = "none" if removed is None else SEXTANTS[int(np.argmax(removed))]
    rows.append(known.same("sextant with most to remove", most, sextant))
    end = "head" if anatomy.gap.cord_point_mm[2] > 0 else "feet"
    rows.append(known.same("end towards which the gap lies", end, "head"))
    return rows
