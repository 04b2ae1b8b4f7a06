"""Delivery uncertainty: cord dose in many scenarios, and the separation that keeps its limit.

The dose stays where it is; the cord moves through it as the scenarios say, and its near-maximum is
read again. What a scenario adds to the cord dose is kept as the target recedes, and falls with the
slope of plan-gradient: that gives the separation each scenario would need (docs/uncertainty.md).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cordgap.case.grid import DoseGrid
from cordgap.dvh.compiled import Engine
from cordgap.dvh.lines import cut, scan
from cordgap.dvh.margin import hot_end_of_margin
from cordgap.dvh.metrics import parse_metric
from cordgap.dvh.solid import Solid
from cordgap.separation.anatomy import Anatomy
from cordgap.separation.displaced import (
    Moves,
    Points,
    cluster_points,
    near_maximum_gy,
    reach_mm,
    steep_dose,
)
from cordgap.separation.estimators import LAG_RANGE, LAG_SHARE, SLOPE_RANGE, slope_gy_per_mm
from cordgap.separation.falloff import KNEE_FRACTION
from cordgap.separation.gap import centroid_mm
from cordgap.separation.lag import Lag
from cordgap.separation.methods import NEAR_MAXIMA_GY
from cordgap.separation.plan import CordLimit, Plan
from cordgap.separation.result import Interval, Separation
from cordgap.separation.uncertainty import ScenarioModel, draw_moves

FloatArray = NDArray[np.float64]

NEAR_MAXIMUM_MM3 = 35.0
PROBABILITIES = (0.50, 0.90, 0.95)
PERCENTS = (1, 5, 10, 25, 50, 75, 90, 95, 99)
BAND_PERCENTS = (5, 50, 95)
CURVE_STEP_MM = 0.25
# Edge of the cells that stand for the cord: about 500 in the hottest 0.035 cc.
CELL_MM = 0.45
MAX_CELLS = 200_000
# A cord drawn smaller than this share of its radius is no cord.
_LEAST_RADIUS = 0.25
# Margins that are tried for the equivalent PRV.
PRV_STEP_MM = 0.5
MAX_PRV_MM = 6.0
_SAME_MM = 1e-9
_D0035 = parse_metric("D0.035cc[Gy]")


@dataclass(frozen=True)
class ProbabilityRow:
    """Separation with which the limit is kept in a share of all scenarios; None with a reason.

    ``interval_mm`` adds the error of the estimate itself; ``make_mm`` is its upper end, rounded up
    to 0.5 mm.
    """

    probability: float
    required_separation_mm: float | None
    interval_mm: Interval | None
    additional_mm: float | None
    make_mm: float | None
    reason: str | None = None


@dataclass(frozen=True)
class PrvRow:
    """Margin round the cord whose dose in the plan is the dose of the cord in so many scenarios."""

    probability: float
    dose_gy: float
    margin_mm: float | None
    reason: str | None = None


@dataclass(frozen=True, eq=False)
class ProbabilityCurve:
    """Share of scenarios that keep the limit, and the cord dose, against separation.

    Arrays of shape (n,); ``dose_gy`` of shape (n, 3) holds the 5, 50 and 95 % of the scenarios.
    """

    separation_mm: FloatArray
    probability: FloatArray
    nominal_gy: FloatArray
    dose_gy: FloatArray


@dataclass(frozen=True, eq=False)
class Scenarios:
    """Cord dose and required separation under delivery uncertainty.

    ``dose_gy`` (n,) is cord D0.035cc in each scenario, in the order in which they were drawn;
    ``required_mm`` (n,) what each would need, None where no separation can be given, with the
    reason. ``status`` is ``not evaluable`` where there are no doses either.
    """

    model: ScenarioModel
    status: str
    reason: str | None
    roi_name: str
    constraint_id: str | None = None
    limit_gy: float | None = None
    cells: int = 0
    nominal_gy: float | None = None
    dose_gy: FloatArray | None = None
    kept_now: float | None = None
    required_mm: FloatArray | None = None
    rows: tuple[ProbabilityRow, ...] = ()
    prv: tuple[PrvRow, ...] = ()
    curve: ProbabilityCurve | None = None

    def percentile_gy(self, percent: float) -> float | None:
        """Cord dose that so many percent of the scenarios do not exceed."""
        if self.dose_gy is None:
            return None
        return float(np.percentile(self.dose_gy, percent, method="higher"))


def run_scenarios(
    anatomy: Anatomy,
    plan: Plan,
    separation: Separation,
    model: ScenarioModel,
    *,
    max_mm: float,
    engine: Engine = "auto",
) -> Scenarios:
    """Draw scenarios, read the cord dose in each, and what each would need.

    Parameters
    ----------
    anatomy, plan, separation
        The plan, and what was estimated for it without uncertainty.
    model : ScenarioModel
    max_mm : float
        Largest separation considered.
    engine : {"auto", "numpy", "compiled"}
        How the doses are read; the numbers are the same to rounding.

    Returns
    -------
    Scenarios
        With the reason where nothing can be said; never raises for a plan.
    """
    name = anatomy.cord_structure.roi_name

    def none(reason: str) -> Scenarios:
        return Scenarios(model, "not evaluable", reason, name)

    dose = anatomy.dose
    if dose is None or plan.cord_dvh is None or plan.prescription is None:
        return none("there is no dose: scenarios need a plan")
    if anatomy.cord_role not in ("cord", "other"):
        return none(f"{name!r} stands in for the cord: a PRV or sac allows for motion already")
    limit = _limit_on_cord(plan, name)
    if limit is None:
        return none(
            f"no limit on a near-maximum dose in Gy of {name!r} itself applies; a limit on a PRV "
            "or another structure allows for motion in its own way"
        )
    allowed = limit.allowed_factor
    if plan.cord_dvh.covered_volume_cc < plan.cord_dvh.total_volume_cc * (1 - 1e-3):
        return none(f"{name!r} lies partly outside the dose grid: what moves in is not known")
    if allowed is None or 1000 * plan.cord_dvh.total_volume_cc <= NEAR_MAXIMUM_MM3:
        return none(f"the dose of {name!r} is not evaluable")
    moves = draw_moves(model, plan.prescription.fractions, _middle(anatomy.target))
    points, radius = cord_points(anatomy.cord, dose)
    growth = np.maximum(moves.growth_mm, (_LEAST_RADIUS - 1.0) * radius)
    moves = Moves(moves.rotation, moves.shift_mm, growth)
    still = Moves(np.eye(3)[None], np.zeros((1, 3)), np.zeros(1))
    both = Moves(
        np.concatenate([still.rotation, moves.rotation]),
        np.concatenate([still.shift_mm, moves.shift_mm]),
        np.r_[0.0, growth],
    )
    # A cord that is larger has more volume in each of its cells.
    wanted = NEAR_MAXIMUM_MM3 / (1.0 + both.growth_mm / radius) ** 2
    read = near_maximum_gy(points, both, steep_dose(dose, points, both), wanted, engine=engine)
    if _edge_gy(dose, points, both) >= float(read.min()):
        return none(
            f"in some scenarios {name!r} reaches the edge of the dose grid where the dose is high: "
            "what lies beyond is not known; export the dose on a larger grid"
        )
    nominal = limit.near_maximum_gy
    offset = read[1:] - read[0]
    doses = np.maximum(nominal + offset, 0.0)
    wanted_gy = nominal * allowed
    required, rows, curve, reason = _separations(
        anatomy, plan, separation, nominal, doses, wanted_gy, max_mm
    )
    return Scenarios(
        model,
        "ok",
        reason,
        name,
        constraint_id=limit.id,
        limit_gy=wanted_gy,
        cells=len(points.points_mm),
        nominal_gy=nominal,
        dose_gy=doses,
        kept_now=float(np.mean(doses <= wanted_gy)),
        required_mm=required,
        rows=rows,
        prv=_prv(anatomy, dose, nominal, doses),
        curve=curve,
    )


def _limit_on_cord(plan: Plan, roi_name: str) -> CordLimit | None:
    """The strictest limit on a near-maximum of the distance structure itself."""
    found = [
        (factor, limit.id, limit)
        for limit in plan.limits
        if limit.roi_name == roi_name
        and limit.structure == "cord"
        and str(limit.metric) in NEAR_MAXIMA_GY
        and (factor := limit.allowed_factor) is not None
    ]
    return min(found, key=lambda f: f[:2])[2] if found else None


def _middle(target: Solid) -> FloatArray:
    lower, upper = target.bounds_mm
    return np.asarray(0.5 * (lower + upper), dtype=np.float64)


def cord_points(cord: Solid, dose: DoseGrid) -> tuple[Points, float]:
    """Cut a cord into cells in clusters; returns the mean radius of its sections too.

    The outward field of a cell is its place in its section over the radius of that section: 0 in
    the middle, about 1 at the edge.
    """
    lower, upper = cord.bounds_mm
    block = dose.crop(lower, upper, pad=1)
    size = max(CELL_MM, float((cord.volume_mm3 / MAX_CELLS) ** (1 / 3)))
    parts = [
        cut(spans, block.geometry, block.values, max_length_mm=size) for spans in scan(cord, size)
    ]
    at = np.concatenate([np.c_[p.x_mm, p.y_mm, p.z_mm] for p in parts])
    volume = np.concatenate([p.volume_mm3 for p in parts])
    bottom, top = cord.z_range_mm
    levels = np.arange(bottom + 0.5, top, 1.0) if top - bottom > 1.0 else np.array([bottom])
    known = [
        (z, *centroid_mm(rings), _radius_mm(rings))
        for z in levels
        if (rings := cord.section_at(float(z)))
    ]
    z, x, y, radius = np.array(known).T
    middle = np.c_[np.interp(at[:, 2], z, x), np.interp(at[:, 2], z, y)]
    outward = np.zeros_like(at)
    outward[:, :2] = (at[:, :2] - middle) / np.interp(at[:, 2], z, radius)[:, None]
    return cluster_points(at, outward, volume), float(radius.mean())


def _radius_mm(rings: list[FloatArray]) -> float:
    """Radius of the circle with the area of the largest ring."""
    areas = [
        0.5 * abs(float(np.sum(r[:, 0] * np.roll(r[:, 1], -1) - np.roll(r[:, 0], -1) * r[:, 1])))
        for r in (ring - ring[0] for ring in rings)
    ]
    return max(float(np.sqrt(max(areas) / np.pi)), 1e-3)


def _edge_gy(dose: DoseGrid, points: Points, moves: Moves) -> float:
    """Highest dose on those faces of the grid that the cord reaches in some scenario."""
    lower, upper = reach_mm(points, moves)
    block = dose.crop(lower, upper, pad=1)
    highest = -np.inf
    for i, axis in enumerate(dose.geometry.axes):
        samples = np.moveaxis(block.values, i, 0)
        if lower[2 - i] < axis[0]:
            highest = max(highest, float(samples[0].max()))
        if upper[2 - i] > axis[-1]:
            highest = max(highest, float(samples[-1].max()))
    return highest


def fall_to_mm(
    start_gy: FloatArray,
    wanted_gy: float,
    *,
    begin_mm: float,
    slope: float,
    knee_gy: float,
    lag: Lag | None = None,
) -> FloatArray:
    """Separation at which the cord dose has fallen from each start to what is wanted.

    ``Falloff.separation_for_mm`` for many starts.
    """
    start = np.asarray(start_gy, dtype=np.float64)
    if wanted_gy <= 0:
        return np.full(start.shape, np.inf)
    knee = np.maximum(np.minimum(knee_gy, start), 1e-12)
    linear = (start - np.maximum(wanted_gy, knee)) / slope
    tail = np.where(wanted_gy < knee, knee / slope * np.log(knee / wanted_gy), 0.0)
    reached = begin_mm + linear + tail
    if lag is not None:
        reached = np.maximum(begin_mm, lag.separation_for(linear + tail))
    out: FloatArray = np.where(start <= wanted_gy, begin_mm, reached)
    return out


def _falls(
    start_gy: FloatArray,
    separation_mm: FloatArray,
    *,
    begin_mm: float,
    slope: float,
    knee_gy: float,
    lag: Lag | None,
) -> FloatArray:
    """Cord dose (n, m) at separations (n,) from each start (m,)."""
    start, extra = start_gy[None], np.maximum(separation_mm - begin_mm, 0.0)[:, None]
    if lag is not None:
        extra = lag.effective(begin_mm + extra)
    knee = np.maximum(np.minimum(knee_gy, start), 1e-12)
    linear = start - slope * extra
    beyond = extra - (start - knee) / slope
    out: FloatArray = np.where(linear >= knee, linear, knee * np.exp(-slope / knee * beyond))
    return out


def _separations(
    anatomy: Anatomy,
    plan: Plan,
    separation: Separation,
    nominal_gy: float,
    dose_gy: FloatArray,
    wanted_gy: float,
    max_mm: float,
) -> tuple[FloatArray | None, tuple[ProbabilityRow, ...], ProbabilityCurve | None, str | None]:
    """What each scenario needs, the rows of the probabilities, and the curves."""
    base, interval = separation.required_separation_mm, separation.interval_mm
    slope = slope_gy_per_mm(anatomy, plan.rx_gy)
    reason = None
    if base is None or interval is None:
        reason = f"no separation is known without uncertainty: {separation.reason}"
    elif slope <= 0:
        reason = "no dose gradient can be read between cord and target"
    if reason is not None or base is None or interval is None:
        rows = tuple(ProbabilityRow(p, None, None, None, None, reason) for p in PROBABILITIES)
        return None, rows, None, reason
    present = separation.separation_mm
    knee = KNEE_FRACTION * plan.rx_gy
    as_planned = separation.question == "as planned"
    begin = base if as_planned else present

    def needed(factor: float, share: float) -> FloatArray:
        start = np.r_[nominal_gy, dose_gy]
        lag = anatomy.lag(begin, factor * slope, share)
        fall = fall_to_mm(
            start, wanted_gy, begin_mm=begin, slope=factor * slope, knee_gy=knee, lag=lag
        )
        # What coverage alone needs stays needed, however little the cord gets.
        if as_planned or (separation.method == "plan-gradient" and base > fall[0] + _SAME_MM):
            shift = min(base - fall[0], 0.0)
            return np.asarray(np.maximum(fall[1:] + shift, base), dtype=np.float64)
        return np.asarray(np.maximum(fall[1:] + (base - fall[0]), present), dtype=np.float64)

    needed_mm = needed(1.0, LAG_SHARE)
    required = np.sort(needed_mm)
    ends = zip(SLOPE_RANGE, LAG_RANGE, strict=True)
    shallow, steep = (np.sort(needed(k, share)) for k, share in ends)
    rows = tuple(
        _row(p, base, interval, present, max_mm, (required, shallow, steep)) for p in PROBABILITIES
    )
    grid = np.arange(0.0, max_mm + CURVE_STEP_MM / 2, CURVE_STEP_MM)
    starts = np.r_[nominal_gy, np.percentile(dose_gy, BAND_PERCENTS)]
    lag = anatomy.lag(begin, slope, LAG_SHARE)
    falls = _falls(starts, grid, begin_mm=begin, slope=slope, knee_gy=knee, lag=lag)
    curve = ProbabilityCurve(
        separation_mm=grid,
        probability=np.searchsorted(required, grid + _SAME_MM, side="right") / required.size,
        nominal_gy=falls[:, 0],
        dose_gy=falls[:, 1:],
    )
    return needed_mm, rows, curve, None


def _row(
    probability: float,
    base_mm: float,
    interval_mm: Interval,
    present_mm: float,
    max_mm: float,
    needed: tuple[FloatArray, FloatArray, FloatArray],
) -> ProbabilityRow:
    """One probability: never less than without uncertainty, and with the error of the estimate."""
    at = int(np.ceil(probability * needed[0].size - 1e-9)) - 1
    central, shallow, steep = (max(float(n[at]), base_mm) for n in needed)
    if central > max_mm:
        reason = f"more than {max_mm:g} mm would be needed"
        return ProbabilityRow(probability, None, None, None, None, reason)
    low = central - float(np.hypot(base_mm - interval_mm[0], max(central - steep, 0.0)))
    high = central + float(np.hypot(interval_mm[1] - base_mm, max(shallow - central, 0.0)))
    return ProbabilityRow(
        probability,
        central,
        (max(low, 0.0), high),
        max(0.0, central - present_mm),
        float(np.ceil(round(2 * high, 1)) / 2),
    )


def _prv(
    anatomy: Anatomy, dose: DoseGrid, nominal_gy: float, dose_gy: FloatArray
) -> tuple[PrvRow, ...]:
    """Margins round the cord that hold, in the plan, the dose of a share of the scenarios."""
    margins, values = [0.0], [nominal_gy]
    highest = float(np.percentile(dose_gy, 100 * max(PROBABILITIES), method="higher"))
    reason = f"a margin of {MAX_PRV_MM:g} mm holds less"
    while values[-1] < highest and margins[-1] < MAX_PRV_MM:
        margin = margins[-1] + PRV_STEP_MM
        hot = hot_end_of_margin(anatomy.cord_surface, dose, margin, 0.98 * values[-1])
        value = None if hot is None else _D0035.evaluate(hot, None).value
        if value is None:
            reason = "the cord plus margin reaches beyond the dose grid"
            break
        margins.append(margin)
        values.append(max(value, values[-1]))
    rows = []
    for p in PROBABILITIES:
        wanted = float(np.percentile(dose_gy, 100 * p, method="higher"))
        if wanted > values[-1]:
            rows.append(PrvRow(p, wanted, None, reason))
        else:
            rows.append(PrvRow(p, wanted, float(np.interp(wanted, values, margins))))
    return tuple(rows)
