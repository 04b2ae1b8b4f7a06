"""One limit with its source, and whether a dose-volume histogram keeps it.

A source that says Dmax is evaluated on D0.035cc, because the highest sample of a dose grid is
noise; the row says so (``surrogate``) and Max stands beside the value.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Literal

from cordgap.case.naming import Role
from cordgap.dvh.curve import DVH
from cordgap.dvh.metrics import Goal, Metric, Unit
from cordgap.errors import Finding, OptionError

Verdict = Literal["met", "exceeded", "not evaluable"]
Verified = Literal["primary", "secondary", "unverified"]
Level = Literal[
    "limit", "low_risk", "high_risk", "optimal", "mandatory", "practice", "institutional", "user"
]

# The same limit is shown on the cord plus this much, because cord and patient move
# (Sunnybrook practice; Tseng CL et al. IJROBP 2018).
PRV_MARGIN_MM = 1.5

ROLE_WORDS: dict[Role, str] = {
    "cord": "true cord",
    "cord_prv": "cord PRV",
    "thecal_sac": "thecal sac",
    "canal": "spinal canal",
    "cauda_equina": "cauda equina",
    "sacral_plexus": "sacral plexus",
    "brachial_plexus": "brachial plexus",
}

# Which structures contain which: a limit on the inner one is stricter on the outer one.
_CONTAINED_IN: dict[Role, tuple[Role, ...]] = {
    "cord": ("cord_prv", "thecal_sac", "canal"),
    "thecal_sac": ("canal",),
}


@dataclass(frozen=True)
class Constraint:
    """One row of a constraint table: a metric of a structure that must not exceed a limit.

    Parameters
    ----------
    id : str
        Stable name of the row, unique in its table.
    structure : Role
        The structure that the source speaks of.
    metric_source : str
        The metric as the source names it, e.g. ``Dmax``.
    metric : Metric
        The metric that is evaluated, e.g. ``D0.035cc[Gy]``.
    limit : float
        The value that decides, in ``unit``; a value equal to it is met.
    unit : {"Gy", "cc", "%"}
        Always the unit of the metric.
    fractions : int, optional
        Number of fractions the limit is for; None where it holds for any number.
    level : str
        What kind of limit it is: ``practice`` is a survey, not evidence.
    source : str
        Citation with its DOI.
    verified : {"primary", "secondary", "unverified"}
        Whether the number was seen in the source itself, in a paper about it, or in neither.
    surrogate : bool
        Whether the source names a point maximum and D0.035cc is evaluated in its place.
    limit_low, limit_high : float, optional
        The range of the source; None where it gives one value.
    endpoint : str, optional
        What the limit protects from, with the risk where the source gives one.
    doi, no_doi : str, optional
        The DOI, or why there is none.
    url, note : str, optional
        Where the number was seen; what a reader must know.
    segment : str, optional
        The part of the structure a partial-volume row speaks of, in words.
    segment_beyond_mm : tuple of float
        How far that part reaches beyond the target, above and below; several values where the
        source gives a range. Empty: the part cannot be cut, and the row is not evaluated.
    """

    id: str
    structure: Role
    metric_source: str
    metric: Metric
    limit: float
    unit: Unit
    fractions: int | None
    level: Level
    source: str
    verified: Verified
    surrogate: bool = False
    limit_low: float | None = None
    limit_high: float | None = None
    endpoint: str | None = None
    doi: str | None = None
    no_doi: str | None = None
    url: str | None = None
    note: str | None = None
    segment: str | None = None
    segment_beyond_mm: tuple[float, ...] = ()


@dataclass(frozen=True)
class MarginCheck:
    """The same limit on the cord expanded by ``margin_mm``; shown, never counted."""

    margin_mm: float
    value: float | None
    plus_minus: float | None
    verdict: Verdict
    reason: str | None = None


@dataclass(frozen=True)
class ConstraintResult:
    """One constraint on one structure of a plan.

    ``headroom`` is limit minus value, positive is safe; None without a verdict. ``bound`` is
    ``lower`` where only a part of the structure lies inside the dose grid. ``within_uncertainty``
    says whether the interval ``value ± plus_minus`` contains the limit. ``max_gy`` stands beside
    a surrogate. ``decides`` says whether the row counts for the exit code. ``segment`` says which
    part of the structure was read, where it is not the whole.
    """

    id: str
    structure: Role
    roi_name: str | None
    metric_source: str
    metric_evaluated: str
    surrogate: bool
    limit: float
    limit_low: float | None
    limit_high: float | None
    value: float | None
    plus_minus: float | None
    headroom: float | None
    unit: Unit
    verdict: Verdict
    within_uncertainty: bool
    level: Level
    endpoint: str | None
    source: str
    verified: Verified
    reason: str | None = None
    max_gy: float | None = None
    bound: Literal["lower"] | None = None
    decides: bool = True
    margin: MarginCheck | None = None
    findings: tuple[Finding, ...] = ()
    segment: str | None = None

    def _repr_html_(self) -> str:
        """What a notebook shows; the name of who draws it is all that a value knows of reports."""
        html: str = import_module("cordgap.report.notebook").constraint_html(self)
        return html


@dataclass(frozen=True)
class _Judgement:
    """A value against its limit."""

    verdict: Verdict
    value: float | None = None
    plus_minus: float | None = None
    bound: Literal["lower"] | None = None
    reason: str | None = None


def evaluate(
    constraint: Constraint,
    dvh: DVH | None,
    *,
    roi_name: str | None,
    roi_role: Role | None,
    rx_gy: float | None = None,
    reason: str | None = None,
) -> ConstraintResult:
    """Evaluate one constraint on one structure.

    Parameters
    ----------
    constraint : Constraint
    dvh : DVH or None
        None where the structure is missing, empty or unsupported.
    roi_name, roi_role : str or None
        The structure the histogram belongs to.
    rx_gy : float, optional
        Prescribed dose, for metrics in % of it.
    reason : str, optional
        Why there is no histogram.

    Returns
    -------
    ConstraintResult
        ``met`` where value <= limit, ``exceeded`` where it is above, else ``not evaluable`` with
        the reason. A structure only partly inside the dose grid is never ``met``.
    """
    judged = _judge(constraint, dvh, rx_gy, reason)
    max_gy: float | None = None
    findings: list[Finding] = []
    if dvh is not None and constraint.segment is None:
        if roi_role is not None and roi_role != constraint.structure:
            findings.append(_stand_in(constraint, roi_name, roi_role))
        if constraint.surrogate and dvh.covered_volume_cc > 0:
            max_gy = dvh.max_gy
            if judged.verdict == "met" and max_gy > constraint.limit:
                findings.append(_point_max_above(constraint, roi_name, max_gy))
    headroom: float | None = None
    within_uncertainty = False
    if judged.value is not None and judged.verdict != "not evaluable":
        headroom = constraint.limit - judged.value
        within_uncertainty = judged.plus_minus is not None and abs(headroom) <= judged.plus_minus
    return ConstraintResult(
        id=constraint.id,
        structure=constraint.structure,
        roi_name=roi_name,
        metric_source=constraint.metric_source,
        metric_evaluated=str(constraint.metric),
        surrogate=constraint.surrogate,
        limit=constraint.limit,
        limit_low=constraint.limit_low,
        limit_high=constraint.limit_high,
        value=judged.value,
        plus_minus=judged.plus_minus,
        headroom=headroom,
        unit=constraint.unit,
        verdict=judged.verdict,
        within_uncertainty=within_uncertainty,
        level=constraint.level,
        endpoint=constraint.endpoint,
        source=constraint.source,
        verified=constraint.verified,
        reason=judged.reason,
        max_gy=max_gy,
        bound=judged.bound,
        decides=constraint.segment is None,
        findings=tuple(findings),
        segment=constraint.segment,
    )


def evaluate_margin(
    constraint: Constraint,
    dvh: DVH | None,
    *,
    margin_mm: float = PRV_MARGIN_MM,
    rx_gy: float | None = None,
    reason: str | None = None,
) -> MarginCheck:
    """Evaluate a true-cord constraint on the histogram of the cord expanded by ``margin_mm``.

    Put it beside the verdict with ``dataclasses.replace(result, margin=check)``.
    """
    judged = _judge(constraint, dvh, rx_gy, reason)
    return MarginCheck(margin_mm, judged.value, judged.plus_minus, judged.verdict, judged.reason)


def constraint_from_goal(goal: Goal, role: Role = "cord") -> Constraint:
    """Make a constraint of a goal that the user gave, such as ``D0.035cc[Gy]<=17``.

    ``<`` is read as ``<=``. The metric is evaluated as written, ``Max[Gy]`` too.

    Raises
    ------
    OptionError
        If the goal is a lower bound, or a metric of the cold side.

    Examples
    --------
    >>> from cordgap.dvh.metrics import parse_goal
    >>> constraint_from_goal(parse_goal("d0.035cc[gy] <= 17")).id
    'D0.035cc[Gy]<=17'
    """
    if goal.operator not in ("<=", "<"):
        raise OptionError(
            f"--constraint {goal}: a constraint is an upper bound, write it with <= "
            "(goals with >= belong to --coverage)"
        )
    if goal.metric.kind in ("CV", "DC", "Min"):
        raise OptionError(
            f"--constraint {goal}: {goal.metric.kind} speaks of the cold side; a limit on the cord "
            "is D, V, Mean or Max"
        )
    return Constraint(
        id=str(Goal(goal.metric, "<=", goal.bound)),
        structure=role,
        metric_source=str(goal.metric),
        metric=goal.metric,
        limit=goal.bound,
        unit=goal.metric.unit,
        fractions=None,
        level="user",
        source="option --constraint",
        verified="unverified",
        no_doi="given by the user",
    )


def unverified_findings(rows: Sequence[Constraint]) -> list[Finding]:
    """Say so for every row of a table whose number was not seen in a source."""
    return [
        Finding(
            "limit-unverified",
            f"{row.id} was asked for by name: its number was recalled, not seen in any source "
            f"({row.source})",
            action="check it against the source before relying on it",
        )
        for row in rows
        if row.verified == "unverified" and row.level != "user"
    ]


def _judge(
    constraint: Constraint, dvh: DVH | None, rx_gy: float | None, reason: str | None
) -> _Judgement:
    if constraint.segment is not None:
        return _Judgement(
            "not evaluable",
            reason=f"the source speaks of the {role_words(constraint.structure)} "
            f"{constraint.segment}, and the table does not say where to cut it",
        )
    if dvh is None:
        missing = f"there is no histogram of the {role_words(constraint.structure)}"
        return _Judgement("not evaluable", reason=reason or missing)
    read = constraint.metric.evaluate(dvh, rx_gy)
    if read.value is None:
        return _Judgement("not evaluable", reason=read.reason)
    verdict: Verdict = "met" if read.value <= constraint.limit else "exceeded"
    why = None
    if verdict == "met" and read.bound == "lower":
        verdict = "not evaluable"
        why = (
            f"only {100 * dvh.covered_fraction:.1f} % of the structure lies inside the dose grid: "
            f"{constraint.metric} is at least {read.value:.2f} {constraint.unit}"
        )
    return _Judgement(verdict, read.value, read.plus_minus, read.bound, why)


def role_words(role: Role) -> str:
    """Return the role as a person says it."""
    return ROLE_WORDS.get(role, role)


def _stand_in(constraint: Constraint, roi_name: str | None, roi_role: Role) -> Finding:
    meant, used = role_words(constraint.structure), role_words(roi_role)
    message = f"{constraint.id} is a limit on the {meant}; it is applied to {roi_name} ({used})."
    if roi_role in _CONTAINED_IN.get(constraint.structure, ()):
        message += f" The {meant} lies inside the {used}: this is stricter than the source."
    elif constraint.structure in _CONTAINED_IN.get(roi_role, ()):
        message += f" The {used} lies inside the {meant}: this is more lenient than the source."
    return Finding(
        "limit-structure-stand-in",
        message,
        roi_name=roi_name,
        found=used,
        expected=meant,
        action=f"contour the {meant}, or choose a limit on the {used}",
    )


def _point_max_above(constraint: Constraint, roi_name: str | None, max_gy: float) -> Finding:
    return Finding(
        "point-max-above-limit",
        f"{constraint.id}: {constraint.metric} keeps the limit, but the point maximum of "
        f"{roi_name} is {max_gy:.2f} Gy and the source limits {constraint.metric_source} to "
        f"{constraint.limit:g} Gy.",
        roi_name=roi_name,
        found=f"{max_gy:.2f} Gy",
        expected=f"at most {constraint.limit:g} Gy",
        action="look at the hottest point of the structure in the planning system",
    )
