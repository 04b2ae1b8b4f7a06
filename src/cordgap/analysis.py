"""The whole path of a plan: DVHs, constraints, separation, in one screen.

>>> from cordgap.phantom import spine_case
>>> result = analyze(spine_case())
>>> result.separation is not None
True
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib import import_module

from cordgap._version import __version__
from cordgap.case.case import Case, Prescription
from cordgap.case.structure import Structure
from cordgap.dvh.curve import DVH
from cordgap.dvh.metrics import Goal, Metric, parse_metric
from cordgap.dvh.solid import Between, Ends
from cordgap.dvh.structures import DEFAULT_METRICS, StructureResult, compute_structures
from cordgap.errors import (
    CordNotSeenError,
    Finding,
    InputWord,
    OptionError,
    StructureError,
    StructureNotFoundError,
    verdict_of,
)
from cordgap.limits.constraint import (
    Constraint,
    ConstraintResult,
    constraint_from_goal,
    unverified_findings,
)
from cordgap.limits.judge import evaluate_constraints, unless_cord_seen
from cordgap.limits.prior import prior_findings, reirradiate
from cordgap.limits.protocol import CORD_ROLES, Protocol, find_row, load_protocol
from cordgap.limits.radiobiology import CORD_ALPHA_BETA_GY
from cordgap.limits.reirradiation import (
    REMAINING,
    Reirradiation,
    remaining_constraints,
    unless_seen,
)
from cordgap.limits.risk import Risk, risk_on
from cordgap.separation.anatomy import Anatomy, survey
from cordgap.separation.escc import EpiduralGrade, grade_epidural
from cordgap.separation.estimate import DEFAULT_MAX_MM, estimate_separation
from cordgap.separation.falloff import PopulationFalloff
from cordgap.separation.plan import CordLimit, Plan
from cordgap.separation.result import CordGoal, Method, Separation
from cordgap.separation.scenarios import Scenarios, run_scenarios
from cordgap.separation.schedules import SCHEDULES
from cordgap.separation.select import Choice, choose_cord, choose_target
from cordgap.separation.uncertainty import ScenarioModel

_NOTEBOOK = "cordgap.report.notebook"


@dataclass(frozen=True)
class Settings:
    """What the user may choose; the defaults are the accurate ones."""

    between: Between = "shape"
    ends: Ends = "half-slice"
    protocol: str | None = None
    constraints: tuple[Goal, ...] = ()
    rows: tuple[str, ...] = ()
    coverage: tuple[Goal, ...] = ()
    metrics: tuple[Metric, ...] = DEFAULT_METRICS
    cord: str | None = None
    target: str | None = None
    prescription: Prescription | None = None
    method: Method | None = None
    max_mm: float = DEFAULT_MAX_MM
    reachable: tuple[str, ...] = ()
    alpha_beta_gy: float = CORD_ALPHA_BETA_GY
    recovery: bool = False
    levels: tuple[tuple[str, float, float], ...] = ()
    falloff: PopulationFalloff = field(default_factory=PopulationFalloff)
    scenarios: ScenarioModel | None = None


@dataclass(frozen=True, eq=False)
class CaseResult:
    """Everything that was found out about a plan."""

    case: Case
    settings: Settings
    protocol: Protocol
    prescription: Prescription | None
    cord: Choice | None
    target: Choice | None
    structures: tuple[StructureResult, ...]
    constraints: tuple[ConstraintResult, ...]
    separation: Separation | None
    separation_reason: str | None
    findings: tuple[Finding, ...]
    reirradiation: Reirradiation | None = None
    risk: Risk | None = None
    scenarios: Scenarios | None = None
    escc: EpiduralGrade | None = None
    anatomy: Anatomy | None = field(default=None, repr=False)
    cordgap_version: str = field(default=__version__)

    def __repr__(self) -> str:
        """Say which plan, and the answer: all of it would be thousands of lines."""
        s = self.separation
        answer = "not evaluable" if s is None else f"{s.required_separation_mm} mm, {s.status}"
        return f"<CaseResult of case {self.case.case_id}: required separation {answer}>"

    def _repr_html_(self) -> str:
        """What a notebook shows; the name of who draws it is all that a value knows of reports."""
        html: str = import_module(_NOTEBOOK).result_html(self)
        return html

    @property
    def warnings(self) -> tuple[Finding, ...]:
        """Findings that are more than information."""
        return tuple(f for f in self.findings if f.severity != "info")

    @property
    def input_verdict(self) -> InputWord:
        """May the input be used, in the word that ``cordgap check`` gives for these findings."""
        return verdict_of(self.findings)

    @property
    def exit_code(self) -> int:
        """3 something not evaluable, 1 something exceeded, 0 all met."""
        verdicts = [c.verdict for c in self.constraints if c.decides]
        if self.reirradiation is not None and self.reirradiation.remaining.applies:
            verdicts += [c.verdict for c in self.reirradiation.conditions]
        if self.separation is None or not verdicts:
            verdicts.append("not evaluable")
        else:
            verdicts += [g.verdict for g in self.separation.coverage_goals if g.headline]
            if self.separation.status == "not evaluable":
                verdicts.append("not evaluable")
        return 3 if "not evaluable" in verdicts else 1 if "exceeded" in verdicts else 0


def analyze(case: Case, settings: Settings | None = None) -> CaseResult:
    """Analyse one plan: every DVH, the constraints, and the separation.

    Parameters
    ----------
    case : Case
    settings : Settings, optional

    Returns
    -------
    CaseResult

    Raises
    ------
    StructureNotFoundError, AmbiguousInputError
        If no structure is the cord, or several are.
    ProtocolError, OptionError
        If a protocol or a goal cannot be used.
    """
    settings = settings or Settings()
    prescription = settings.prescription or case.prescription
    rx_gy = prescription.dose_gy if prescription else None
    protocol = load_protocol(settings.protocol) if settings.protocol else load_protocol()
    cord = choose_cord(case, settings.cord)
    structures = compute_structures(
        case,
        metrics=settings.metrics,
        between=settings.between,
        ends=settings.ends,
        rx_gy=rx_gy,
    )
    target, no_target = _target(case, cord.structure, settings)
    again = reirradiate(
        case,
        cord.structure,
        structures,
        fractions=prescription.fractions if prescription else None,
        between=settings.between,
        ends=settings.ends,
        schedules=[*protocol.fractions, *(n for _, n in SCHEDULES)],
        recovery=settings.recovery,
        alpha_beta_gy=settings.alpha_beta_gy,
    )
    rows = constraint_rows(protocol, settings, prescription, again)
    judged = evaluate_constraints(
        case, rows, structures, cord.structure, rx_gy=rx_gy,
        target=target.structure if target else None, between=settings.between, ends=settings.ends,
    )  # fmt: skip
    constraints = tuple(result for result, _ in judged)
    findings = [*case.findings, *cord.findings, *prior_findings(case.priors)]
    findings += again.findings if again else ()
    findings += unverified_findings(rows)
    if prescription is not None and case.prescription is not None:
        findings += _other_prescription(prescription, case.prescription)
    if all(row.id.startswith(REMAINING) for row in rows):
        findings.append(_no_limit(protocol, prescription))
    answer = _Answer(None, no_target)
    try:
        if target is not None:
            answer = _separation(
                case, settings, prescription, protocol, cord.structure, structures, judged,
                target.structure, again,
            )  # fmt: skip
    except CordNotSeenError as error:
        target, answer = None, _Answer(None, reason := str(error))
        again = again and unless_seen(again, reason)
        constraints = tuple(unless_cord_seen(c, reason) for c in constraints)
    separation = answer.separation
    findings += [f for s in structures for f in s.findings]
    findings += [f for c in constraints for f in c.findings]
    findings += target.findings if target else ()
    findings += separation.findings if separation else ()
    return CaseResult(
        case=case,
        settings=settings,
        protocol=protocol,
        prescription=prescription,
        cord=cord,
        target=target,
        structures=structures,
        constraints=constraints,
        separation=separation,
        separation_reason=answer.reason,
        findings=tuple(dict.fromkeys(findings)),
        reirradiation=again,
        risk=risk_on(
            structures,
            cord.structure,
            fractions=prescription.fractions if prescription else None,
            irradiated=bool(case.priors),
        ),
        scenarios=answer.scenarios,
        escc=answer.escc,
        anatomy=answer.anatomy,
    )


def _target(case: Case, cord: Structure, settings: Settings) -> tuple[Choice | None, str | None]:
    """The target, or why there is none."""
    try:
        return choose_target(case, cord, settings.target), None
    except StructureNotFoundError as error:
        if settings.target is not None:
            raise
        return None, str(error)


def constraint_rows(
    protocol: Protocol,
    settings: Settings,
    prescription: Prescription | None,
    again: Reirradiation | None = None,
) -> list[Constraint]:
    """Rows that apply: the user's cord goals in place of the protocol's where there are any.

    Rows asked for by name and what previous courses left are added.
    """
    rows = list(protocol.active(prescription.fractions)) if prescription else []
    if settings.constraints:
        own = [constraint_from_goal(goal) for goal in settings.constraints]
        rows = own + [row for row in rows if row.structure not in CORD_ROLES]
    for name in settings.rows:
        row, table = find_row(name, protocol)
        if prescription is not None and row.fractions not in (None, prescription.fractions):
            raise OptionError(
                f"--row {name}: the row of {table} is for {row.fractions} fraction(s), the plan "
                f"has {prescription.fractions}"
            )
        rows += [row] if row not in rows else []
    if again is not None and prescription is not None:
        left = remaining_constraints(again)
        rows += [row for row in left if row.fractions == prescription.fractions]
    return rows


@dataclass(frozen=True, eq=False)
class _Answer:
    """What was found out between cord and target; the reason where there is no separation."""

    separation: Separation | None
    reason: str | None
    scenarios: Scenarios | None = None
    escc: EpiduralGrade | None = None
    anatomy: Anatomy | None = None


def _separation(
    case: Case,
    settings: Settings,
    prescription: Prescription | None,
    protocol: Protocol,
    cord: Structure,
    structures: Sequence[StructureResult],
    judged: Sequence[tuple[ConstraintResult, DVH | None]],
    target: Structure,
    again: Reirradiation | None,
) -> _Answer:
    """Estimate the separation, or say in one sentence why there is none."""
    try:
        anatomy = survey(
            case,
            cord,
            target,
            max_mm=settings.max_mm,
            between=settings.between,
            ends=settings.ends,
        )
    except CordNotSeenError:
        raise
    except StructureError as error:
        return _Answer(None, str(error))
    escc = grade_epidural(case, anatomy)
    if prescription is None and case.dose is not None:
        unknown = "the prescription is not known: give --rx GY and --fractions N"
        return _Answer(None, unknown, escc=escc)
    cord_rows = [(r, dvh) for r, dvh in judged if r.decides and r.structure in CORD_ROLES]
    limits = [
        CordLimit(
            id=row.id,
            structure=row.structure,
            roi_name=row.roi_name or "",
            metric=parse_metric(row.metric_evaluated),
            limit=row.limit,
            dvh=dvh,
            rx_gy=prescription.dose_gy if prescription else 0.0,
            plus_minus=row.plus_minus or 0.0,
        )
        for row, dvh in cord_rows
        if row.verdict != "not evaluable" and dvh is not None
    ]
    goals = [
        CordGoal(
            r.id, r.roi_name or "", r.metric_evaluated, r.limit, r.unit, r.value, r.plus_minus,
            r.headroom, r.verdict, r.within_uncertainty, r.reason,
        )
        for r, _ in cord_rows
    ]  # fmt: skip
    plan = Plan(
        prescription=prescription,
        cord_goals=tuple(goals),
        limits=tuple(limits),
        target_dvh=next(s.dvh for s in structures if s.structure is target),
        schedule_limits=tuple(
            row
            for n in protocol.fractions
            for row in protocol.cord_rows(n)
            # The part of the cord that a partial-volume row speaks of is cut for this plan alone.
            if (row.structure == cord.role or row.structure == "cord") and row.segment is None
        ),
        cord_dvh=next((s.dvh for s in structures if s.structure is cord), None),
        cord_roi_name=cord.roi_name,
        alpha_beta_gy=settings.alpha_beta_gy,
        remaining=() if again is None else remaining_constraints(again),
        blocked=None if again is None else again.remaining.refusal,
        falloff=settings.falloff,
    )
    separation = estimate_separation(
        anatomy,
        plan,
        coverage=settings.coverage,
        method=settings.method,
        max_mm=settings.max_mm,
        reachable=settings.reachable,
    )
    scenarios = None
    if settings.scenarios is not None:
        scenarios = run_scenarios(
            anatomy, plan, separation, settings.scenarios, max_mm=settings.max_mm
        )
    return _Answer(separation, None, scenarios, escc, anatomy)


def _other_prescription(used: Prescription, planned: Prescription) -> list[Finding]:
    if (used.dose_gy, used.fractions) == (planned.dose_gy, planned.fractions):
        return []
    return [
        Finding(
            "prescription-overridden",
            f"the prescription used is {used.dose_gy:g} Gy in {used.fractions} fraction(s) "
            f"({used.source}); the plan says {planned.dose_gy:g} Gy in {planned.fractions}. The "
            "dose itself is not scaled",
            found=f"{used.dose_gy:g} Gy in {used.fractions}",
            expected=f"{planned.dose_gy:g} Gy in {planned.fractions}",
        )
    ]


def _no_limit(protocol: Protocol, prescription: Prescription | None) -> Finding:
    if prescription is None:
        return Finding(
            "no-prescription",
            "the number of fractions is not known, so that no limit applies",
            action="give --rx GY --fractions N",
        )
    return Finding(
        "no-limit-for-fractions",
        f"{protocol.id} has no limit for {prescription.fractions} fraction(s)",
        expected=f"fractions in {', '.join(str(n) for n in protocol.fractions)}",
        action="choose another --protocol, or give --constraint",
    )


def require_separation(result: CaseResult) -> Separation:
    """Return the separation of a result.

    Raises
    ------
    OptionError
        If there is none, with the reason.
    """
    if result.separation is None:
        raise OptionError(f"no separation can be given: {result.separation_reason}")
    return result.separation
