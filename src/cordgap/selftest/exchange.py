"""A plan written as DICOM and read back: what comes back is what went out."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import numpy as np

from cordgap.case.case import Case
from cordgap.check.selftest import CONTOUR_MM, Row
from cordgap.dicom.read import read_case
from cordgap.export.plan import write_plan
from cordgap.phantom.shapes import Epidural, Sampling
from cordgap.phantom.spine import spine_case
from cordgap.selftest.rows import Known, attempt

_WAYS: tuple[tuple[Literal[16, 32], bool], ...] = ((32, False), (16, False), (32, True))
# Scaling is written with ten digits.
_SCALING_SHARE = 1e-6


def exchange_rows(folder: Path) -> Iterator[Row]:
    """Return rows of a spine with a tumour all round the cord, stored in several ways."""
    case = spine_case(
        epidural=Epidural("circumferential", 0.9),
        sampling=Sampling(plane_spacing_mm=3.0, vertices=60, dose_spacing_mm=3.0),
        image=False,
    )
    for bits, deflated in _WAYS:
        words = f"{bits}-bit dose{' and deflated' if deflated else ''}"
        known = Known("round trip", words)
        yield from attempt(
            known,
            lambda k=known, b=bits, d=deflated: _there_and_back(  # type: ignore[misc]
                k, case, folder / "back", b, d
            ),
        )


def _there_and_back(
    known: Known, case: Case, folder: Path, bits: Literal[16, 32], deflated: bool
) -> list[Row]:
    write_plan(case, folder, dose_bits=bits, deflated=deflated)
    again = read_case(folder)
    rows = [
        known.same("structures", _names(again), _names(case)),
        known.same("prescription", _prescription(again), _prescription(case)),
    ]
    off = max(
        float(np.abs(a - b).max())
        for one, two in zip(case.structures, again.structures, strict=True)
        for p, q in zip(one.planes, two.planes, strict=True)
        for a, b in zip(p.contours, q.contours, strict=True)
    )
    rows.append(
        known.number("contour points", off, 0.0, limit=CONTOUR_MM, limit_id="contour", unit="mm")
    )
    if case.dose is None or again.dose is None:
        return [*rows, known.missing("dose samples", "dose-sample", "no dose was read")]
    worst = float(np.abs(case.dose.values - again.dose.values).max())
    half_step = float(case.dose.values.max()) / 2 ** (bits + 1) * (1 + _SCALING_SHARE)
    rows.append(
        known.number("dose samples", worst, 0.0, limit=half_step, limit_id="dose-sample", unit="Gy")
    )
    return rows


def _names(case: Case) -> str:
    return ", ".join(f"{s.roi_number} {s.roi_name} ({s.role})" for s in case.structures)


def _prescription(case: Case) -> str:
    rx = case.prescription
    return "none" if rx is None else f"{rx.dose_gy:g} Gy in {rx.fractions}"
