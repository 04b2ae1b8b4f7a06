"""Previous courses of a case, laid on its cord and thecal sac."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cordgap.case.case import Case
from cordgap.case.prior import PriorCourse
from cordgap.case.structure import Structure
from cordgap.dvh.samples import dose_at_samples, sample_solid
from cordgap.dvh.solid import Between, Ends, build_solid
from cordgap.dvh.structures import StructureResult
from cordgap.errors import Finding, StructureError
from cordgap.limits.courses import OnStructure, course_on, sum_on
from cordgap.limits.reirradiation import Reirradiation, judge
from cordgap.limits.rules import ReirradiationRules, reirradiation_rules


def reirradiate(
    case: Case,
    cord: Structure,
    structures: Sequence[StructureResult],
    *,
    fractions: int | None,
    between: Between = "shape",
    ends: Ends = "half-slice",
    schedules: Sequence[int] = (),
    recovery: bool = False,
    alpha_beta_gy: float | None = None,
) -> Reirradiation | None:
    """Judge the previous courses of a case by the published conditions.

    Parameters
    ----------
    case : Case
        With ``priors``.
    cord : Structure
    structures : sequence of StructureResult
        With the histograms of the new course.
    fractions : int or None
        Of the new course; None where it is not known.
    between, ends : str
        How solids are built.
    schedules : sequence of int
        Other numbers of fractions to give the remaining limit for.
    recovery : bool
        Show the cumulative dose with a rule for recovery.
    alpha_beta_gy : float, optional
        Show the sums with this value too.

    Returns
    -------
    Reirradiation or None
        None without previous courses, or where the cord has no solid or ``fractions`` is None.
    """
    if not case.priors or fractions is None:
        return None
    rules, number = reirradiation_rules(), fractions

    def lay(structure: Structure) -> OnStructure | None:
        return _lay(case, structure, structures, number, rules, between, ends)

    on_cord = lay(cord)
    if on_cord is None:
        return None
    sacs = [s for s in case.structures if s.role == rules.structure and s.status == "ok"]
    on = on_cord
    if cord.role != rules.structure and sacs:
        on = lay(sacs[0]) or on_cord
    found = judge(
        on,
        on_cord,
        rules,
        fractions=fractions,
        schedules=schedules,
        recovery=recovery,
        alpha_beta_gy=alpha_beta_gy,
    )
    return found


def prior_findings(priors: Sequence[PriorCourse]) -> list[Finding]:
    """Say what is taken for granted about previous courses."""
    notes = []
    for prior in priors:
        if prior.dose is None:
            notes.append(
                Finding(
                    "prior-as-number",
                    f"the previous course {prior.source} in {prior.fractions} is taken to have "
                    "given the whole cord that dose; a prescription is not the maximum of the cord",
                    action="give the RTDOSE of the course",
                )
            )
        elif prior.transform is not None:
            notes.append(
                Finding(
                    "prior-registered",
                    f"the previous dose {prior.source} was read through a rigid registration "
                    f"(rotation {prior.transform.angle_deg:.1f} degrees, shift of the origin "
                    f"{prior.transform.shift_mm:.1f} mm); its error is not in any interval",
                    file=prior.source,
                    action="look at the registration at the levels of the target",
                )
            )
    return notes


def _lay(
    case: Case,
    structure: Structure,
    structures: Sequence[StructureResult],
    fractions: int,
    rules: ReirradiationRules,
    between: Between,
    ends: Ends,
) -> OnStructure | None:
    try:
        solid = build_solid(structure, between=between, ends=ends)
    except StructureError:
        return None
    samples = sample_solid(solid)
    count = samples.volume_mm3.size
    priors = []
    for prior in case.priors:
        if prior.dose is None:
            gy = np.full(count, prior.dose_gy)
        else:
            gy = dose_at_samples(samples, prior.dose, solid=solid, transform=prior.transform)
        priors.append((prior, gy))
    dvh = next((s.dvh for s in structures if s.structure is structure), None)
    new = None
    if case.dose is not None and dvh is not None and dvh.covered_volume_cc > 0:
        course = course_on("new course", fractions, dvh, rules)
        new = (course, dose_at_samples(samples, case.dose, solid=solid))
    return sum_on((structure.role, structure.roi_name), samples, priors, new, rules)
