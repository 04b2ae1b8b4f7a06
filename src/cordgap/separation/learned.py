"""A falloff model of a site's own plans, and how far it can be trusted.

Each plan shows how fast its dose falls between target and cord, and what its cord gets at its gap:
together the dose at contact. Over the plans these make the centre and the range of the model that
answers before there is a plan (docs/uncertainty.md).
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cordgap.case.case import Case, Prescription
from cordgap.dvh.integrate import compute_dvh
from cordgap.dvh.metrics import parse_metric
from cordgap.errors import OptionError, OutOfRangeError
from cordgap.separation.anatomy import FAR_MM, Anatomy, survey
from cordgap.separation.coverage import HEADLINE_GOAL
from cordgap.separation.falloff import (
    FEWEST_FOR_A_SPREAD,
    KNEE_FRACTION,
    Falloff,
    PopulationFalloff,
)
from cordgap.separation.select import choose_cord, choose_target

SCHEMA = "cordgap.falloff/1"
# Share of plans that the range of the model is meant to hold.
RANGE_COVERS = 0.9
_D0035 = parse_metric("D0.035cc[Gy]")
_STEPS = 60
# A model beyond these is a slip: no photon plan falls off by more than the prescription per mm.
_LARGEST = {"contact": 2.0, "gradient": 1.0}


@dataclass(frozen=True)
class PlanReading:
    """Falloff of one plan, as shares of the prescription; never a name.

    ``covers`` tells whether it meets D98 >= 95 %: a plan with a cold rim keeps its cord cool at
    the price of the tumour and says nothing about the dose at contact.
    """

    plan_id: str
    rx_gy: float
    fractions: int
    separation_mm: float
    cord_fraction: float
    gradient_per_mm: float
    covers: bool

    @property
    def contact_fraction(self) -> float:
        """Dose that the cord would get if the target touched it, with the plan's own gradient."""
        return contact_from(self.cord_fraction, self.separation_mm, self.gradient_per_mm)


@dataclass(frozen=True)
class LeftOut:
    """One plan predicted by a model of the others."""

    plan_id: str
    separation_mm: float
    cord_fraction: float
    predicted_fraction: float
    error_mm: float
    inside: bool


@dataclass(frozen=True)
class LearnedFalloff:
    """Model, the plans that it was learned from, and its leave-one-out errors."""

    model: PopulationFalloff
    readings: tuple[PlanReading, ...]
    left_out: tuple[LeftOut, ...]
    reason: str | None = None

    @property
    def covering(self) -> int:
        """Number of plans that say something about the dose at contact."""
        return sum(reading.covers for reading in self.readings)


def contact_from(cord_fraction: float, separation_mm: float, gradient_per_mm: float) -> float:
    """Invert the falloff: dose at contact of a cord dose at a separation."""
    low, high = cord_fraction, cord_fraction + gradient_per_mm * separation_mm + KNEE_FRACTION

    def at(contact: float) -> float:
        law = Falloff(contact, 0.0, gradient_per_mm, KNEE_FRACTION)
        return law.cord_dose_gy(separation_mm)

    while at(high) < cord_fraction:
        high *= 2.0
    for _ in range(_STEPS):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if at(middle) < cord_fraction else (low, middle)
    return high


def read_falloff(case: Case) -> PlanReading:
    """Read the falloff of one plan.

    Raises
    ------
    OutOfRangeError
        If the plan says nothing about falloff near the cord: no dose, no prescription, a target
        far away or outside the dose grid, no gradient.
    """
    rx = case.prescription
    if case.dose is None or rx is None:
        missing = "dose" if case.dose is None else "prescription"
        raise OutOfRangeError(f"the plan has no {missing}", code="falloff-not-readable")
    if case.dose_type != "PHYSICAL":
        raise OutOfRangeError("the dose is no absorbed dose", code="falloff-not-readable")
    cord = choose_cord(case).structure
    target = choose_target(case, cord).structure
    if cord.role != "cord" or target.role != "gtv":
        raise OutOfRangeError(
            f"a true cord and a GTV are needed, found {cord.role} and {target.role}",
            code="falloff-not-readable",
        )
    return falloff_of(case, survey(case, cord, target, max_mm=1.0), rx)


def falloff_of(case: Case, anatomy: Anatomy, rx: Prescription) -> PlanReading:
    """Read the falloff of a plan whose true cord and GTV were surveyed.

    Raises
    ------
    OutOfRangeError
        As ``read_falloff``.
    """
    assert case.dose is not None
    gap = anatomy.gap.separation_mm
    if gap > FAR_MM or anatomy.gradient is None:
        why = "no gradient is seen between them"
        if gap > FAR_MM:
            why = f"beyond {FAR_MM:g} mm nothing is learned"
        raise OutOfRangeError(
            f"the target is {gap:.1f} mm from the cord: {why}",
            code="falloff-not-readable",
        )
    dvh = compute_dvh(anatomy.cord, case.dose, uncertainty=False)
    near_maximum = _D0035.evaluate(dvh, rx.dose_gy).value
    coverage = anatomy.cells.coverage(HEADLINE_GOAL.metric, 0.0, rx.dose_gy)
    if (
        near_maximum is None
        or coverage is None
        or dvh.covered_volume_cc < 0.999 * (dvh.total_volume_cc)
    ):
        raise OutOfRangeError(
            "cord or target lie partly outside the dose grid", code="falloff-not-readable"
        )
    return PlanReading(
        case.case_id,
        rx.dose_gy,
        rx.fractions,
        gap,
        near_maximum / rx.dose_gy,
        anatomy.gradient.gradient_gy_per_mm / rx.dose_gy,
        HEADLINE_GOAL.holds(coverage),
    )


def learn(readings: Sequence[PlanReading], source: str) -> LearnedFalloff:
    """Learn a model, and predict each plan from the others.

    Raises
    ------
    OutOfRangeError
        If there is no plan to learn from.
    """
    if not readings:
        raise OutOfRangeError("no plan could be read: there is nothing to learn from")
    ordered = tuple(sorted(readings, key=lambda r: r.plan_id))
    left = tuple(
        _left_out(r, _model([o for o in ordered if o is not r], source))
        for r in ordered
        if r.covers and len(ordered) > 1
    )
    reason = None
    if not left:
        reason = (
            "one plan cannot be predicted from others"
            if len(ordered) == 1
            else f"no plan meets {HEADLINE_GOAL}: what the cord gets at contact is not known"
        )
    return LearnedFalloff(_model(ordered, source), ordered, left, reason)


def _model(readings: Sequence[PlanReading], source: str) -> PopulationFalloff:
    """Centre and range of contact dose and gradient.

    With fewer plans than ``FEWEST_FOR_A_SPREAD`` the published centre stays, and its range is only
    widened to hold what the plans show.
    """
    known = PopulationFalloff()
    contact = [r.contact_fraction for r in readings if r.covers]
    gradient = [r.gradient_per_mm for r in readings]
    c = _centre_and_range(contact, known.contact_fraction, known.contact_low, known.contact_high)
    g = _centre_and_range(
        gradient, known.gradient_per_mm, known.gradient_low_per_mm, known.gradient_high_per_mm
    )
    return PopulationFalloff(*c, *g, plans=len(contact), source=source)


def _centre_and_range(
    values: Sequence[float], centre: float, low: float, high: float
) -> tuple[float, float, float]:
    if len(values) < FEWEST_FOR_A_SPREAD:
        return centre, min(low, *values, centre), max(high, *values, centre)
    from scipy.special import stdtrit

    found = np.asarray(values)
    n, mean = found.size, float(found.mean())
    # Where the next plan of the same kind lies, if plans scatter normally.
    half = stdtrit(n - 1, 0.5 * (1 + RANGE_COVERS)) * found.std(ddof=1) * math.sqrt(1 + 1 / n)
    return mean, max(mean - float(half), 1e-3), mean + float(half)


def _left_out(reading: PlanReading, model: PopulationFalloff) -> LeftOut:
    gap, cord = reading.separation_mm, reading.cord_fraction
    low, centre, high = (
        law(1.0).cord_dose_gy(gap) for law in (model.favourable, model.central, model.unfavourable)
    )
    # Millimetres by which the model would place this cord dose too far (+) or too near (-).
    error = (centre - cord) / model.gradient_per_mm
    return LeftOut(reading.plan_id, gap, cord, centre, error, low <= cord <= high)


def load_falloff(path: str | Path) -> PopulationFalloff:
    """Read a model that ``learn-falloff`` wrote.

    Raises
    ------
    OptionError
        If the file is missing, damaged, or its numbers make no sense.
    """
    file = Path(path)
    if not file.is_file():
        raise OptionError(f"--falloff {file.name}: there is no such file; make one: learn-falloff")
    try:
        document = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise OptionError(f"--falloff {file.name}: not valid JSON: {error}") from error
    if not isinstance(document, dict) or document.get("schema") != SCHEMA:
        raise OptionError(f"--falloff {file.name}: no {SCHEMA} document; make one: learn-falloff")
    model = document.get("model")
    place = f"--falloff {file.name}: model"
    if not isinstance(model, dict):
        raise OptionError(f"{place} is missing")
    contact = _triple(model, "contact_fraction", "contact_range", _LARGEST["contact"], place)
    gradient = _triple(
        model, "gradient_per_mm", "gradient_range_per_mm", _LARGEST["gradient"], place
    )
    plans = model.get("plans")
    if isinstance(plans, bool) or not isinstance(plans, int) or plans < 0:
        raise OptionError(f"{place}: plans is {plans!r}, expected a whole number")
    return PopulationFalloff(*contact, *gradient, plans=plans, source=file.name)


def _triple(
    model: dict[str, Any], centre: str, ends: str, largest: float, place: str
) -> tuple[float, float, float]:
    pair = model.get(ends)
    values = [model.get(centre), *(pair if isinstance(pair, list) else [])]
    numbers = [v for v in values if isinstance(v, int | float) and not isinstance(v, bool)]
    if len(values) != 3 or len(numbers) != 3:
        raise OptionError(f"{place}: {centre} and {ends} must be a number and a pair of numbers")
    middle, low, high = (float(v) for v in numbers)
    if not 0 < low <= middle <= high <= largest:
        raise OptionError(
            f"{place}: {centre} {middle:g} and its range {low:g} to {high:g} make no sense, "
            f"expected 0 < low <= centre <= high <= {largest:g}"
        )
    return middle, low, high
