"""Required separation for the cord goals and coverage goals of a plan, with its interval.

The choice of estimator follows the plan: cord goals held or at the limit -> trim (question ``as
planned``); exceeded -> plan-gradient (``re-planned``); no dose -> population falloff (``no plan``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from cordgap.dvh.metrics import Goal
from cordgap.errors import Finding, OptionError
from cordgap.separation.anatomy import FAR_MM, Anatomy
from cordgap.separation.coverage import HEADLINE_GOAL, answer_goals
from cordgap.separation.erosion import erode
from cordgap.separation.estimators import INTERVAL_COVERS, Estimate
from cordgap.separation.gap import binding_levels, summarise_sextants, worst_levels
from cordgap.separation.highest import highest_doses
from cordgap.separation.methods import NO_PRESCRIPTION, compare_methods
from cordgap.separation.plan import Plan
from cordgap.separation.reach import clear_only
from cordgap.separation.remaining import remaining_by_step
from cordgap.separation.resect import resection_inside_cc
from cordgap.separation.result import (
    SEXTANTS,
    CoverageGoal,
    GapMap,
    Interval,
    InTheWay,
    Method,
    Separation,
    SeparationStatus,
    TargetLeft,
)
from cordgap.separation.schedules import (
    QUESTIONS,
    binding_constraint,
    curve_steps,
    schedule_table,
    separation_curve,
)
from cordgap.separation.split import split_finding

DEFAULT_MAX_MM = 10.0


def estimate_separation(
    anatomy: Anatomy,
    plan: Plan,
    *,
    coverage: Sequence[Goal] = (),
    method: Method | None = None,
    max_mm: float = DEFAULT_MAX_MM,
    reachable: Sequence[str] = (),
) -> Separation:
    """Estimate how far the target must stand off the cord.

    Parameters
    ----------
    anatomy : Anatomy
    plan : Plan
        With the cord goals as evaluated on the exported dose.
    coverage : sequence of Goal
        Headline goals in place of ``D98%[%]>=95``; all must hold.
    method : {"trim", "plan-gradient", "isodose-recession", "population-falloff"}, optional
        In place of the one that the plan asks for.
    max_mm : float
        Largest separation considered.
    reachable : sequence of str
        Names of the sextants that surgery can clear; all where none are named.

    Returns
    -------
    Separation

    Raises
    ------
    OptionError
        If a coverage goal is an upper bound.
    """
    headline = tuple(coverage) or (HEADLINE_GOAL,)
    for goal in headline:
        if goal.operator not in (">=", ">"):
            raise OptionError(f"--coverage {goal}: coverage is a lower bound, write it with >=")
    findings = list(anatomy.findings)
    chosen, reason = _choose(plan, method)
    reach = clear_only(anatomy, reachable, max_mm)
    anatomy = reach.cleared
    rows, estimate = answer_goals(anatomy, plan, headline, chosen, reason, max_mm, findings)
    in_the_way: tuple[InTheWay, ...] = ()
    needed: Estimate | None = None
    if reach.names:
        all_rows, everywhere = answer_goals(reach.whole, plan, headline, chosen, reason, max_mm, [])
        rows = tuple(reach.bound_row(r, w) for r, w in zip(rows, all_rows, strict=True))
        estimate, in_the_way = reach.bound(estimate, lambda: everywhere)
        needed = everywhere if in_the_way else None
        findings += reach.findings(estimate)
    present = anatomy.gap.separation_mm
    required, interval = estimate.required_mm, estimate.interval_mm
    additional = None if required is None else max(0.0, required - present)
    removed = inside = by_sextant = None
    worst: tuple[float, ...] = ()
    if required is not None:
        removed_cc = anatomy.cells.resection_by_level_cc(required, anatomy.map.level_mm)
        worst = worst_levels(anatomy.map, removed_cc)
    if required is not None and anatomy.knows_resection:
        removed = anatomy.cells.resection_cc(required)
        by_sextant = anatomy.cells.resection_by_sextant_cc(required)
        if anatomy.canal is not None:
            inside = resection_inside_cc(anatomy.cells, required, anatomy.canal)
    remaining = remaining_by_step(anatomy.cells, curve_steps(max_mm), canal=anatomy.canal)
    make_for = None if interval is None else _missed_goal(rows, chosen, interval)
    overlap = _overlap(anatomy, findings)
    gaps = _with_deficit(anatomy.map, required)
    if present > FAR_MM:
        findings.append(
            Finding(
                "target-far-from-cord",
                f"the target is {present:.1f} mm from the cord: separation is not the problem",
                severity="info",
            )
        )
    if required is not None and (split := split_finding(anatomy, required)) is not None:
        findings.append(split)
    return Separation(
        cord_roi_name=anatomy.cord_structure.roi_name,
        cord_role=anatomy.cord_role,
        target_roi_name=anatomy.target_structure.roi_name,
        target_role=anatomy.target_structure.role,
        distance_from=anatomy.cord_role,
        prescription=plan.prescription,
        cord_goals=plan.cord_goals,
        binding_constraint=estimate.binding or binding_constraint(plan),
        coverage_goals=rows,
        methods=compare_methods(anatomy, plan, headline, chosen, max_mm),
        question=QUESTIONS[chosen],
        method=chosen,
        separation_mm=present,
        overlap_cc=overlap,
        penetration_mm=anatomy.gap.penetration_mm,
        separation_to_thecal_sac_mm=anatomy.separation_to_thecal_sac_mm,
        closest_cord_point_mm=anatomy.gap.cord_point_mm,
        closest_target_point_mm=anatomy.gap.target_point_mm,
        required_separation_mm=required,
        interval_mm=interval,
        interval_covers=None if chosen == "population-falloff" else INTERVAL_COVERS,
        additional_mm=additional,
        make_mm=_rounded_up_mm(interval if make_for is None else make_for.interval_mm),
        make_for=make_for,
        resection_cc=removed,
        resection_inside_canal_cc=inside,
        status="not reachable" if in_the_way else _status(estimate, present),
        reason=estimate.reason,
        curve=separation_curve(anatomy, plan, chosen, remaining, bound_mm=reach.bound_mm),
        target_left=TargetLeft(remaining.separation_mm, *remaining.edges()),
        erosion=erode(anatomy, plan.prescription),
        map=gaps,
        sextants=summarise_sextants(gaps, by_sextant, reach.names),
        binding_levels=binding_levels(gaps),
        worst_levels_mm=worst,
        in_the_way=in_the_way,
        everywhere_mm=needed.required_mm if needed else None,
        everywhere_interval_mm=needed.interval_mm if needed else None,
        schedules=schedule_table(reach, plan, headline, max_mm),
        highest_doses=highest_doses(reach, plan, headline, max_mm),
        findings=tuple(findings),
    )


def _choose(plan: Plan, method: Method | None) -> tuple[Method, str | None]:
    """Estimator that fits the plan, and why none can answer if so."""
    if plan.blocked is not None:
        default: Method = "population-falloff" if plan.target_dvh is None else "plan-gradient"
        return method or default, plan.blocked
    if plan.target_dvh is None:
        if method not in (None, "population-falloff"):
            raise OptionError(f"--method {method} needs a dose")
        return "population-falloff", None if plan.prescription else NO_PRESCRIPTION
    missing = [g for g in plan.cord_goals if g.verdict == "not evaluable"]
    held = all(limit.is_held for limit in plan.limits)
    best: Method = "trim" if held else "plan-gradient"
    if not plan.limits:
        none = "no cord goal applies to this plan"
        return method or best, (missing[0].reason if missing else none) or none
    if missing and held:
        return method or best, f"{missing[0].id} is not evaluable: {missing[0].reason}"
    if method == "trim" and not held:
        return "trim", (
            "trim keeps the cord dose as planned, and this plan exceeds its cord goal; use "
            "plan-gradient"
        )
    return method or best, None


def _missed_goal(
    rows: Sequence[CoverageGoal], method: Method, interval_mm: Interval
) -> CoverageGoal | None:
    """The headline goal that the plan misses and that asks for more than its own coverage.

    One for which no estimate is known comes first: then nothing can be recommended.
    """
    if method != "plan-gradient":
        return None
    missed = [row for row in rows if row.headline and row.verdict == "exceeded"]
    for row in missed:
        if row.interval_mm is None:
            return row
    more = [r for r in missed if r.interval_mm is not None and r.interval_mm[1] > interval_mm[1]]
    return max(more, key=lambda row: row.required_separation_mm or 0.0, default=None)


def _rounded_up_mm(interval_mm: Interval | None) -> float | None:
    """Upper end of an interval rounded up to 0.5 mm; what prints as 3.0 does not become 3.5."""
    return None if interval_mm is None else float(np.ceil(round(2 * interval_mm[1], 1)) / 2)


def parse_sextants(text: str) -> tuple[str, ...]:
    """Read ``anterior,left-anterolateral`` into names of sextants.

    Raises
    ------
    OptionError
        Listing the sextants.
    """
    names = tuple(part.strip().replace("-", " ").casefold() for part in text.split(","))
    for name in names:
        if name not in SEXTANTS:
            known = ", ".join(s.replace(" ", "-") for s in SEXTANTS)
            raise OptionError(f"--reachable: {name!r} is no sextant; sextants are {known}")
    return names


def _overlap(anatomy: Anatomy, findings: list[Finding]) -> float:
    cells = anatomy.cells
    overlap = float(cells.volume_mm3[cells.cord_distance_mm < 0].sum()) / 1000.0
    if anatomy.gap.penetration_mm > 0.1:
        findings.append(
            Finding(
                "target-overlaps-cord",
                f"the target overlaps the cord by {overlap:.3f} cc, up to "
                f"{anatomy.gap.penetration_mm:.1f} mm deep; the separation is 0",
                roi_name=anatomy.target_structure.roi_name,
                action="check both contours where they meet",
            )
        )
    return overlap


def _status(estimate: Estimate, present: float) -> SeparationStatus:
    if estimate.required_mm is None:
        return "not evaluable" if estimate.reachable else "not reachable within max-mm"
    return "already sufficient" if estimate.required_mm <= present + 1e-9 else "ok"


def _with_deficit(gaps: GapMap, required_mm: float | None) -> GapMap:
    if required_mm is None:
        return gaps
    return replace(gaps, deficit_mm=np.maximum(required_mm - gaps.gap_mm, 0.0))
