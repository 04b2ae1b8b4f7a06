"""What is left for a cord that was irradiated before: sums in EQD2, conditions, remaining limit.

Every course is turned into EQD2 with the alpha/beta of the source (2 Gy). Two sums stand side by
side: of the near-maxima of the courses, wherever they lie, which is the published basis and
decides; and voxel by voxel, which says what one piece of cord gets. docs/reirradiation.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from cordgap.errors import Finding
from cordgap.limits.constraint import Constraint, Verdict, role_words
from cordgap.limits.courses import Course, OnStructure, near_maximum
from cordgap.limits.nieder import NiederResult, judge_nieder
from cordgap.limits.radiobiology import dose_of_eqd2_gy, eqd2_gy
from cordgap.limits.rules import Condition, Quantity, ReirradiationRules

FloatArray = NDArray[np.float64]

# A level is a slice of the cord this thick; its dose is the highest in it.
LEVEL_MM = 5.0
# Rows of what previous courses left are called this and the number of fractions.
REMAINING = "reirradiation_"
# A remaining limit is rounded down to this.
_LIMIT_STEP_GY = 0.01
# Rounding of a dose file; below it a course gave nothing.
_NOTHING_GY = 0.01


@dataclass(frozen=True)
class ConditionResult:
    """One condition with its verdict.

    ``value`` decides: of the sum of near-maxima, or of the voxel sum where that is larger.
    ``voxel_value`` and ``max_value`` (from point maxima) stand beside it.
    """

    id: str
    words: str
    at_most: float | None
    at_least: float | None
    unit: str
    value: float | None
    plus_minus: float | None
    voxel_value: float | None
    max_value: float | None
    verdict: Verdict
    voxel_verdict: Verdict
    reason: str | None = None
    within_uncertainty: bool = False


@dataclass(frozen=True)
class LevelTolerance:
    """Highest EQD2 in one slice of the cord, and what is left there by the caps on doses."""

    z_mm: tuple[float, float]
    prior_eqd2_gy: float | None
    new_eqd2_gy: float | None
    cumulative_eqd2_gy: float | None
    remaining_eqd2_gy: float | None
    remaining_gy: float | None
    reason: str | None = None


@dataclass(frozen=True)
class Remaining:
    """What the new course may give the structure, as EQD2, and which condition says so.

    ``eqd2_gy`` is None where it is not known; 0 where nothing is left. ``applies`` is False where
    the previous courses gave the structure nothing: then there is nothing to take off.
    """

    eqd2_gy: float | None
    binding: str | None
    reason: str | None = None
    applies: bool = True

    @property
    def refusal(self) -> str | None:
        """Why no separation can be given; None where one can."""
        return None if self.eqd2_gy or not self.applies else self.reason

    def dose_gy(self, fractions: int, alpha_beta_gy: float) -> float | None:
        """Return the total dose in a number of fractions."""
        if self.eqd2_gy is None:
            return None
        return dose_of_eqd2_gy(self.eqd2_gy, fractions, alpha_beta_gy=alpha_beta_gy)


@dataclass(frozen=True, eq=False)
class Reirradiation:
    """Everything about previous courses; ``limit`` speaks of ``on``, ``cord`` of the cord."""

    rules: ReirradiationRules
    on: OnStructure
    cord: OnStructure
    stands_in: bool
    conditions: tuple[ConditionResult, ...]
    remaining: Remaining
    limits_gy: tuple[tuple[int, float], ...]
    levels: tuple[LevelTolerance, ...]
    nieder: NiederResult
    other_alpha_beta: tuple[tuple[float, str, float | None, float | None], ...]
    recovered_eqd2_gy: float | None
    findings: tuple[Finding, ...]


def judge(
    on: OnStructure,
    cord: OnStructure,
    rules: ReirradiationRules,
    *,
    fractions: int,
    schedules: Sequence[int] = (),
    recovery: bool = False,
    alpha_beta_gy: float | None = None,
) -> Reirradiation:
    """Judge the courses by the published conditions, and say what is left.

    Parameters
    ----------
    on : OnStructure
        The structure that the conditions speak of, or the cord in its place.
    cord : OnStructure
        The cord; may be the same.
    rules : ReirradiationRules
    fractions : int
        Of the new course.
    schedules : sequence of int
        Other numbers of fractions to give the remaining limit for.
    recovery : bool
        Whether to show the cumulative dose with a rule for recovery; never compared with a limit.
    alpha_beta_gy : float, optional
        A value of the user's, beside those that the table lists.
    """
    prior_gy = sum(c.eqd2_gy for c in on.courses)
    known = all(c.is_complete for c in on.courses)
    interval = _shortest_interval(on.courses)
    conditions = tuple(_condition(c, on, interval, rules) for c in rules.conditions)
    remaining = _remaining(on, prior_gy, known, interval, rules)
    if not remaining.applies:
        conditions = tuple(_not_evaluable(c, remaining.reason) for c in conditions)
    counts = sorted({*schedules, fractions})
    limits = tuple(
        (n, dose)
        for n in counts
        if (dose := remaining.dose_gy(n, rules.alpha_beta_gy)) is not None and dose > 0
    )
    recovered = None
    if recovery and known and all(c.interval_months is not None for c in on.courses):
        left = [
            c.eqd2_gy * (1 - rules.recovery.share_after(c.interval_months or 0.0))
            for c in on.courses
        ]
        recovered = sum(left) + (on.new.eqd2_gy if on.new else 0.0)
    return Reirradiation(
        rules=rules,
        on=on,
        cord=cord,
        stands_in=on.role != rules.structure,
        conditions=conditions,
        remaining=remaining,
        limits_gy=limits,
        levels=_levels(cord, rules, fractions),
        nieder=judge_nieder(on, known, interval, rules),
        other_alpha_beta=_other_ratios(on, rules, alpha_beta_gy),
        recovered_eqd2_gy=recovered,
        findings=(
            *_findings(on, prior_gy, known, interval, remaining, rules),
            *_unreported(fractions, rules),
        ),
    )


def _unreported(fractions: int, rules: ReirradiationRules) -> list[Finding]:
    low, high = rules.fractions
    if low <= fractions <= high:
        return []
    return [
        Finding(
            "reirradiation-fractions",
            f"re-irradiation is reported in {low} to {high} fractions; for {fractions} the "
            "remaining limit is a conversion that nobody has published",
            found=f"{fractions} fractions",
            expected=f"{low} to {high} fractions",
        )
    ]


def _not_evaluable(condition: ConditionResult, reason: str | None) -> ConditionResult:
    return replace(
        condition, verdict="not evaluable", voxel_verdict="not evaluable", reason=reason,
        within_uncertainty=False,
    )  # fmt: skip


def unless_seen(found: Reirradiation, reason: str) -> Reirradiation:
    """Return what holds where the cord is not contoured at the target: no dose is ever kept."""
    kept: tuple[Quantity, ...] = ("cumulative_eqd2", "sbrt_eqd2", "sbrt_share")
    doses = {found.rules.condition(quantity).id for quantity in kept}
    conditions = tuple(
        _not_evaluable(c, reason) if c.id in doses and c.verdict == "met" else c
        for c in found.conditions
    )
    return replace(found, conditions=conditions)


def remaining_constraints(found: Reirradiation) -> tuple[Constraint, ...]:
    """Return the remaining limit as rows, one for each number of fractions."""
    rules, eqd2 = found.rules, found.remaining.eqd2_gy
    condition = next((c for c in rules.conditions if c.id == found.remaining.binding), None)
    return tuple(
        Constraint(
            id=f"{REMAINING}{fractions}",
            structure=rules.structure,
            metric_source=rules.metric_source,
            metric=rules.metric,
            limit=round(float(np.floor(limit / _LIMIT_STEP_GY + 1e-9)) * _LIMIT_STEP_GY, 2),
            unit="Gy",
            fractions=fractions,
            level="limit",
            source=f"{eqd2:.1f} Gy EQD2 left ({found.remaining.binding}), converted with "
            f"alpha/beta {rules.alpha_beta_gy:g} Gy; {rules.source}",
            verified="primary" if condition is None else condition.verified,
            surrogate=True,
            endpoint=rules.endpoint,
            doi=rules.doi,
            url=rules.url,
        )
        for fractions, limit in found.limits_gy
    )


def _shortest_interval(courses: Sequence[Course]) -> float | None:
    """Months since the last previous course; None where that of any is not known."""
    months = [c.interval_months for c in courses]
    return None if None in months else min(m for m in months if m is not None)


def _condition(
    condition: Condition, on: OnStructure, interval: float | None, rules: ReirradiationRules
) -> ConditionResult:
    value = voxel = top = spread = None
    reason, lower = None, False
    if condition.quantity == "interval":
        value = voxel = interval
        reason = None if interval is not None else "the date of a previous course is not known"
    elif on.new is None:
        reason = "there is no dose of the new course"
    else:
        value, voxel, top, spread = _doses(condition.quantity, on, on.new, rules)
        counted = [on.new] if condition.quantity == "sbrt_eqd2" else [*on.courses, on.new]
        lower = not all(c.is_complete for c in counted)
        if lower:
            reason = f"a dose covers only a part of {on.roi_name}: the value is a lower bound"
        if condition.quantity == "sbrt_share" and (lower or value is None):
            # A share is no bound either way when one of its parts is.
            value = voxel = top = spread = None
            part = f"a dose covers only a part of {on.roi_name}"
            reason = part if lower else "the courses gave the structure no dose"
    verdict = _verdict(condition, value, lower)
    near = False
    bound = condition.at_most if condition.at_most is not None else condition.at_least
    if value is not None and spread is not None and bound is not None:
        near = verdict != "not evaluable" and abs(value - bound) <= spread
    return ConditionResult(
        condition.id, condition.words, condition.at_most, condition.at_least, condition.unit,
        value, spread, voxel, top, verdict, _verdict(condition, voxel, lower),
        reason if verdict == "not evaluable" or lower else None, near,
    )  # fmt: skip


def _verdict(condition: Condition, value: float | None, lower: bool) -> Verdict:
    if value is None:
        return "not evaluable"
    if not condition.holds(value):
        return "exceeded"
    return "not evaluable" if lower else "met"


def _doses(
    quantity: Quantity, on: OnStructure, new: Course, rules: ReirradiationRules
) -> tuple[float | None, float | None, float | None, float | None]:
    """Deciding value, voxel value, value from point maxima, and plus-minus of a condition."""
    prior, prior_max = (
        sum(c.eqd2_gy for c in on.courses),
        sum(c.max_eqd2_gy for c in on.courses),
    )
    spread = new.plus_minus_eqd2_gy
    if quantity == "sbrt_eqd2":
        return new.eqd2_gy, new.eqd2_gy, new.max_eqd2_gy, spread
    voxel = None
    if on.sum_dvh is not None and on.sum_dvh.covered_volume_cc > 0:
        voxel = near_maximum(on.sum_dvh, rules)
    if quantity == "cumulative_eqd2":
        value = prior + new.eqd2_gy
        return max(value, voxel or 0.0), voxel, prior_max + new.max_eqd2_gy, spread
    total = prior + new.eqd2_gy
    if total <= _NOTHING_GY:
        return None, None, None, None
    share = new.eqd2_gy / total
    # d(n / (p + n)) / dn = p / (p + n)^2.
    wide = None if spread is None else spread * prior / total**2
    at_voxel = None if not voxel else min(new.eqd2_gy / voxel, 1.0)
    top = new.max_eqd2_gy / max(prior_max + new.max_eqd2_gy, _NOTHING_GY)
    return share, at_voxel, top, wide


def _remaining(
    on: OnStructure,
    prior_gy: float,
    known: bool,
    interval: float | None,
    rules: ReirradiationRules,
) -> Remaining:
    total, new, share, wait = (
        rules.condition(q) for q in ("cumulative_eqd2", "sbrt_eqd2", "sbrt_share", "interval")
    )
    assert total.at_most is not None and new.at_most is not None and share.at_most is not None
    if prior_gy >= total.at_most:
        # True of a lower bound too.
        return Remaining(
            0.0,
            total.id,
            f"no room left: previous courses gave {on.roi_name} {prior_gy:.1f} Gy EQD2, the "
            f"cumulative limit is {total.at_most:g} Gy",
        )
    if not known:
        parts = ", ".join(
            f"{c.source} {100 * c.covered_fraction:.0f} %" for c in on.courses if not c.is_complete
        )
        return Remaining(
            None,
            None,
            f"a previous dose covers only a part of {on.roi_name} ({parts}): what is left for the "
            "rest is not known; export it on a larger grid, or give the course as a number",
        )
    if prior_gy <= _NOTHING_GY:
        words = f"the previous courses gave {on.roi_name} no dose: this is no re-irradiation of it"
        return Remaining(None, None, words, applies=False)
    if interval is not None and not wait.holds(interval):
        return Remaining(
            None,
            wait.id,
            f"the interval of {interval:.1f} months is shorter than the {wait.at_least:g} months "
            "for which limits after previous radiation are published",
        )
    caps = {
        total.id: total.at_most - prior_gy,
        new.id: new.at_most,
        share.id: prior_gy * share.at_most / (1 - share.at_most),
    }
    binding = min(caps, key=lambda name: caps[name])
    return Remaining(caps[binding], binding)


def _levels(
    cord: OnStructure, rules: ReirradiationRules, fractions: int
) -> tuple[LevelTolerance, ...]:
    total, new = rules.condition("cumulative_eqd2"), rules.condition("sbrt_eqd2")
    assert total.at_most is not None and new.at_most is not None
    z = cord.samples.points_mm[:, 2]
    number = np.floor(z / LEVEL_MM).astype(np.intp)
    found = []
    for level in np.unique(number):
        here = number == level
        span = (float(level * LEVEL_MM), float((level + 1) * LEVEL_MM))
        prior = cord.prior_eqd2_gy[here]
        fresh = None if cord.new_eqd2_gy is None else cord.new_eqd2_gy[here]
        given = _highest(fresh)
        if not np.isfinite(prior).all():
            reason = "a previous dose does not cover this level"
            found.append(LevelTolerance(span, None, given, None, None, None, reason))
            continue
        before = float(prior.max())
        both = None if fresh is None else _highest(prior + fresh)
        left = max(0.0, min(new.at_most, total.at_most - before))
        dose = dose_of_eqd2_gy(left, fractions, alpha_beta_gy=rules.alpha_beta_gy)
        why = None if both is not None else "the dose of the new course is not known here"
        found.append(LevelTolerance(span, before, given, both, left, dose, why))
    return tuple(found)


def _highest(values: FloatArray | None) -> float | None:
    if values is None or not np.isfinite(values).all():
        return None
    return float(values.max())


def _other_ratios(
    on: OnStructure, rules: ReirradiationRules, own_gy: float | None
) -> tuple[tuple[float, str, float | None, float | None], ...]:
    """Cumulative and new EQD2 (near-maxima) with other values of alpha/beta."""
    known = on.new is not None and all(c.is_complete for c in (*on.courses, on.new))
    values = list(rules.other_alpha_beta_gy)
    if own_gy is not None and own_gy not in (rules.alpha_beta_gy, *(gy for gy, _ in values)):
        values.append((own_gy, "--alpha-beta"))
    rows: list[tuple[float, str, float | None, float | None]] = []
    for ratio, citation in values:
        new = None
        if on.new is not None:
            new = eqd2_gy(on.new.near_maximum_gy, on.new.fractions, alpha_beta_gy=ratio)
        before = [eqd2_gy(c.near_maximum_gy, c.fractions, alpha_beta_gy=ratio) for c in on.courses]
        total = sum(before) + new if new is not None and known else None
        rows.append((ratio, citation, total, new))
    return tuple(rows)


def _findings(
    on: OnStructure,
    prior_gy: float,
    known: bool,
    interval: float | None,
    remaining: Remaining,
    rules: ReirradiationRules,
) -> list[Finding]:
    notes: list[Finding] = []
    # Where there is a remaining limit, its row says the same.
    if on.role != rules.structure and not remaining.eqd2_gy:
        notes.append(
            Finding(
                "reirradiation-stand-in",
                f"the conditions for re-irradiation speak of the {role_words(rules.structure)}; "
                f"they are read on {on.roi_name} ({role_words(on.role)})",
                roi_name=on.roi_name,
                action=f"contour the {role_words(rules.structure)}",
            )
        )
    notes += [
        Finding(
            "prior-covers-part",
            f"the previous dose {course.source} covers {100 * course.covered_fraction:.0f} % of "
            f"{on.roi_name}; what the rest got is not known",
            roi_name=on.roi_name,
            file=course.source,
            action="export it on a larger grid, or give the course as a number",
        )
        for course in on.courses
        if not course.is_complete
    ]
    low, high = rules.prior_range_gy
    if known and prior_gy > _NOTHING_GY and not low <= prior_gy <= high:
        notes.append(
            Finding(
                "prior-outside-published-range",
                f"previous courses gave {on.roi_name} {prior_gy:.1f} Gy EQD2; the patients behind "
                f"the conditions had {low:g} to {high:g} Gy",
                found=f"{prior_gy:.1f} Gy EQD2",
                expected=f"{low:g} to {high:g} Gy EQD2",
            )
        )
    if interval is None:
        notes.append(
            Finding(
                "prior-interval-unknown",
                "the interval since a previous course is not known: the remaining limit holds only "
                f"from {rules.condition('interval').at_least:g} months on",
                action="give the interval, such as --prior-date 14mo",
            )
        )
    if remaining.reason is not None:
        notes.append(Finding("reirradiation-no-limit", remaining.reason, roi_name=on.roi_name))
    return notes
