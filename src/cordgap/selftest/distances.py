"""Gap and removed volume of a ring around a cylinder, where both have closed forms."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from cordgap.analysis import CaseResult, Settings, analyze
from cordgap.check.selftest import GAP_MM, RESECTION_PERCENT, Row
from cordgap.dicom.read import read_case
from cordgap.dicom.structures import read_structures
from cordgap.dvh.solid import build_solid
from cordgap.export.plan import write_plan
from cordgap.export.rtstruct import write_rtstruct
from cordgap.phantom.bodies import SHIFT_MM, Body, case_of, linear
from cordgap.phantom.shapes import make_structure
from cordgap.selftest.rows import Known, attempt

_CORD_MM, _REACH_MM = 5.0, 12.0
_CORD_HALF_MM, _TARGET_HALF_MM = 24.0, 9.0
_PLANES_MM, _VERTEX_MM, _GRID_MM = 1.5, 0.2, 2.0
_GAPS_MM = (0.4, 1.5)
_REMOVED_MM = (2.0, 3.0, 5.0)
_DERIVED_MM, _DERIVED_NAME = 3.0, "CG_Resect_3.0mm"
# Cells of 0.5 mm resolve a layer that is no thinner than in the test where the limit stands.
_THINNEST_MM = 1.3


def separation_rows(folder: Path) -> Iterator[Row]:
    """Return rows of a target all round an upright cord, at two gaps."""
    for gap in _GAPS_MM:
        known = Known("separation", f"ring at {gap:g} mm")
        yield from attempt(
            known,
            lambda g=gap, k=known: _ring(g, k, folder),  # type: ignore[misc]
        )


def _cylinder(name: str, radius_mm: float, half_mm: float) -> Body:
    def still(a: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return 0 * a, 0 * a

    return Body(name, 2, -half_mm, half_mm, lambda a: radius_mm + 0 * a, still)


def _ring(gap_mm: float, known: Known, folder: Path) -> list[Row]:
    cord = _cylinder("SpinalCord", _CORD_MM, _CORD_HALF_MM)
    inner = _cylinder("inside", _CORD_MM + gap_mm, _TARGET_HALF_MM)
    outer = _cylinder("outside", _REACH_MM, _TARGET_HALF_MM)
    rings = [
        ring
        for wall in (outer, inner)
        for ring in wall.contours(wall.planes(_PLANES_MM, "centres"), _VERTEX_MM)
    ]
    structure = cord.structure(cord.planes(_PLANES_MM, "centres"), _VERTEX_MM)
    case = case_of(structure, linear(1).grid(cord, _GRID_MM, SHIFT_MM))
    # The grid covers the cord and as much beside it; the target reaches farther than the cord.
    wide = linear(1).grid(replace(cord, radius=outer.radius), _GRID_MM, SHIFT_MM)
    target = make_structure(2, "GTV", rings)
    write_plan(replace(case, dose=wide, structures=(*case.structures, target)), folder / "ring")
    result = analyze(read_case(folder / "ring"), Settings(max_mm=max(_REMOVED_MM) + 1))
    found = result.separation
    if found is None:
        return [known.missing("separation", "gap", result.separation_reason or "no reason")]
    rows = [
        known.number("gap", found.separation_mm, gap_mm, limit=GAP_MM, limit_id="gap", unit="mm")
    ]
    removed = {point.separation_mm: point.resection_cc for point in found.curve}
    for s in _REMOVED_MM:
        if s - gap_mm < _THINNEST_MM:
            continue
        rows.append(_volume(known, f"volume closer than {s:g} mm", removed.get(s), gap_mm, s))
    written = _written(result, folder / "derived.dcm")
    known = replace(known, part="round trip")
    return [*rows, _volume(known, f"volume of {_DERIVED_NAME}", written, gap_mm, _DERIVED_MM)]


def _volume(known: Known, quantity: str, found: float | None, gap_mm: float, s: float) -> Row:
    """Hold the volume closer than s against the closed form: a ring."""
    area = (_CORD_MM + s) ** 2 - (_CORD_MM + gap_mm) ** 2
    exact = float(np.pi * area * 2 * _TARGET_HALF_MM / 1000)
    if found is None:
        return known.missing(quantity, "resection", "there is no value", expected=exact)
    return known.percent(quantity, found, exact, limit=RESECTION_PERCENT, limit_id="resection")


def _written(result: CaseResult, file: Path) -> float | None:
    """Write what is to be removed as a structure set, read it again; None if it is not there."""
    write_rtstruct(result, file, at_mm=_DERIVED_MM)
    for structure in read_structures(file).structures:
        if structure.roi_name == _DERIVED_NAME:
            return build_solid(structure).volume_cc
    return None
