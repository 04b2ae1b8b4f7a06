"""The answer as an immutable value: everything that is printed, drawn or stored about it."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from cordgap.case.case import Prescription
from cordgap.case.naming import Role
from cordgap.errors import Finding

FloatArray = NDArray[np.float64]
Question = Literal["as planned", "re-planned", "no plan"]
Method = Literal["trim", "plan-gradient", "isodose-recession", "population-falloff"]
Verdict = Literal["met", "exceeded", "not evaluable"]
# What a coverage goal speaks of: the whole target, or the target within 8 mm of the cord.
Region = Literal["target", "rim"]
SeparationStatus = Literal[
    "ok", "already sufficient", "not reachable", "not reachable within max-mm", "not evaluable"
]
Interval = tuple[float, float]

SEXTANTS = (
    "anterior",
    "left anterolateral",
    "left posterolateral",
    "posterior",
    "right posterolateral",
    "right anterolateral",
)


@dataclass(frozen=True)
class CordGoal:
    """One limit on the cord (or the structure it speaks of) in the plan as exported."""

    id: str
    roi_name: str
    metric: str
    limit: float
    unit: str
    value: float | None
    plus_minus: float | None
    headroom: float | None
    verdict: Verdict
    within_uncertainty: bool
    reason: str | None = None


@dataclass(frozen=True)
class CoverageGoal:
    """One coverage goal: how the plan stands, and the separation it would need.

    ``region`` is ``rim`` where only the target within 8 mm of the cord counts; ``source`` says
    where a goal comes from that is no habit.
    """

    metric: str
    at_least: float
    value: float | None
    plus_minus: float | None
    verdict: Verdict
    headline: bool
    required_separation_mm: float | None
    interval_mm: Interval | None
    method: Method | None
    reason: str | None = None
    region: Region = "target"
    source: str | None = None


@dataclass(frozen=True)
class MethodRow:
    """One estimator on this plan: whether it applies, what it says, and why not.

    ``used`` marks the one that makes the headline; ``bound`` says that it asks for too much.
    """

    method: Method
    used: bool
    applies: bool
    bound: Literal["upper"] | None
    required_separation_mm: float | None
    interval_mm: Interval | None
    reason: str | None = None


@dataclass(frozen=True)
class Erosion:
    """Coverage of a target that is taken away from the cord, dose as planned (Jakubovic 2019).

    ``target_gy`` and ``rim_gy`` are the D95 of the whole target and of its part near the cord, as
    BED with alpha/beta 10 Gy, after ``receded_mm``; ``rise_gy_per_mm`` is the slope of the rim.
    """

    receded_mm: tuple[float, ...]
    target_gy: tuple[float | None, ...]
    rim_gy: tuple[float | None, ...]
    rise_gy_per_mm: float | None
    in_published_band: bool | None


@dataclass(frozen=True)
class CurvePoint:
    """What the plan would be with ``separation_mm`` between cord and target.

    ``cord_gy`` is the binding cord metric, ``metrics`` the coverage of T(s); None where the
    question does not give one.
    """

    separation_mm: float
    resection_cc: float | None
    resection_inside_canal_cc: float | None
    question: Question
    cord_gy: float | None
    metrics: dict[str, float | None]


@dataclass(frozen=True, eq=False)
class TargetLeft:
    """Cumulative DVHs of T(s), dose as planned: ``volume_cc`` has shape (steps, doses).

    Without a dose ``dose_gy`` is empty.
    """

    separation_mm: FloatArray
    dose_gy: FloatArray
    volume_cc: FloatArray


@dataclass(frozen=True, eq=False)
class GapMap:
    """Gap between cord and target per level and direction.

    ``gap_mm`` and ``deficit_mm`` have shape (levels, directions); ``nan`` where the target is
    farther than 20 mm. Directions: 0 anterior, 90 patient left, 180 posterior, 270 right, around
    ``centre_mm`` (levels, 2), the cord centroid of each level; ``nan`` where the cord has none.
    """

    level_mm: FloatArray
    direction_deg: FloatArray
    gap_mm: FloatArray
    deficit_mm: FloatArray | None
    centre_mm: FloatArray


@dataclass(frozen=True)
class BindingLevels:
    """A run of levels at which the target is closer than required, and the worst one of them."""

    z_mm: Interval
    worst_mm: float
    gap_mm: float
    deficit_mm: float
    direction_deg: float
    sextant: str


@dataclass(frozen=True)
class DerivedFrom:
    """The published limit that one for another number of fractions was converted from, by EQD2."""

    constraint_id: str
    fractions: int
    limit: float
    alpha_beta_gy: float


@dataclass(frozen=True)
class Schedule:
    """Required separation if the plan were scaled to another dose and fractionation.

    ``derived_from`` is None where the limit is published for that number of fractions.
    """

    dose_gy: float
    fractions: int
    constraint_id: str | None
    limit: float | None
    required_separation_mm: float | None
    interval_mm: Interval | None
    question: Question | None
    reason: str | None = None
    derived_from: DerivedFrom | None = None


@dataclass(frozen=True)
class HighestDose:
    """The highest dose in a number of fractions that an achieved separation allows.

    Cord limit and headline coverage are both kept. ``interval_gy`` holds the doses at which the
    upper and the lower end of the required separation reach the achieved one. ``at_least`` is true
    where the search ended at the largest dose it considers: more may be possible;
    ``interval_at_least`` says the same of the upper end of the interval.
    """

    separation_mm: float
    fractions: int
    constraint_id: str | None
    limit: float | None
    dose_gy: float | None
    interval_gy: Interval | None
    at_least: bool
    interval_at_least: bool
    reason: str | None = None
    derived_from: DerivedFrom | None = None


@dataclass(frozen=True)
class InTheWay:
    """A sextant that cannot be cleared, and how near the target stays to the cord in it."""

    name: str
    gap_mm: float


@dataclass(frozen=True)
class Sextant:
    """Smallest gap of one sextant as seen from the cord, its level, and what is removed there.

    ``resection_cc`` is the volume of target that lies in the sextant and is removed at the
    required separation; None where no resection volume can be given.
    """

    name: str
    gap_mm: float | None
    level_mm: float | None
    deficit_mm: float | None
    resection_cc: float | None
    reachable: bool


@dataclass(frozen=True, eq=False)
class Separation:
    """How far the target must stand off the cord, and how sure that is.

    ``make_mm`` is what a surgeon reads first: the upper end of the interval rounded up to 0.5 mm;
    where the plan misses a headline coverage goal, of the interval for reaching that goal, since
    the answer for the plan's own coverage would leave the rim cold (``make_for`` names the goal).
    It is None where nobody knows what that goal needs.
    ``interval_covers`` is None where the interval was never held against a truth.
    ``worst_levels_mm`` are planes with most to remove, most first. Where the status is ``not
    reachable``, ``everywhere_mm`` is what would be required if all sides could be cleared.
    """

    cord_roi_name: str
    cord_role: Role
    target_roi_name: str
    target_role: Role
    distance_from: str
    prescription: Prescription | None
    cord_goals: tuple[CordGoal, ...]
    binding_constraint: str | None
    coverage_goals: tuple[CoverageGoal, ...]
    methods: tuple[MethodRow, ...]
    question: Question
    method: Method | None
    separation_mm: float
    overlap_cc: float
    penetration_mm: float
    separation_to_thecal_sac_mm: float | None
    closest_cord_point_mm: tuple[float, float, float]
    closest_target_point_mm: tuple[float, float, float]
    required_separation_mm: float | None
    interval_mm: Interval | None
    interval_covers: float | None
    additional_mm: float | None
    make_mm: float | None
    make_for: CoverageGoal | None
    resection_cc: float | None
    resection_inside_canal_cc: float | None
    status: SeparationStatus
    reason: str | None
    curve: tuple[CurvePoint, ...]
    target_left: TargetLeft
    erosion: Erosion | None
    map: GapMap
    sextants: tuple[Sextant, ...]
    binding_levels: tuple[BindingLevels, ...]
    worst_levels_mm: tuple[float, ...]
    in_the_way: tuple[InTheWay, ...]
    everywhere_mm: float | None
    everywhere_interval_mm: Interval | None
    schedules: tuple[Schedule, ...]
    highest_doses: tuple[HighestDose, ...]
    findings: tuple[Finding, ...]

    def _repr_html_(self) -> str:
        """What a notebook shows; the name of who draws it is all that a value knows of reports."""
        html: str = import_module("cordgap.report.notebook").separation_html(self)
        return html
