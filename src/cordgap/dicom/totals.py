"""Which dose files make the total dose of a plan.

The PLAN dose, else the complete sum of the plan's beams, else the complete sum of its fraction
groups. Single-frame files of one series are the planes of one dose.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from cordgap.dicom.discover import FileRecord, Kind
from cordgap.dicom.overrides import NO_OVERRIDES, Overrides
from cordgap.dicom.plan import delivered_beams, fraction_groups
from cordgap.errors import AmbiguousInputError, DicomError, Finding, OptionError

# Doses that stand for a whole plan by themselves, the usual one first.
_WHOLE = ("PLAN", "MULTI_PLAN", "PLAN_OVERVIEW", "")
# PS3.3 C.8.8.3: the whole delivery of one fraction group; a single session ("fraction") of one.
_OF_GROUP = ("FRACTION", "FRACTION_SESSION")
# Longer lists help nobody.
_MAX_LISTED = 12


@dataclass(frozen=True)
class Total:
    """Dose files that together are one total, each times its factor."""

    files: tuple[FileRecord, ...]
    factors: tuple[float, ...] = ()
    findings: tuple[Finding, ...] = ()


def of_kind(records: Iterable[FileRecord], kind: Kind) -> list[FileRecord]:
    """Return the records of one kind."""
    return [r for r in records if r.kind == kind]


def listed_files(records: Iterable[FileRecord]) -> str:
    """Name files for a message, at most a dozen."""
    return shortened([str(r) for r in records], "; ")


def shortened(words: Sequence[str], separator: str) -> str:
    """Join at most a dozen words and count the rest."""
    rest = len(words) - _MAX_LISTED
    return separator.join(words[:_MAX_LISTED]) + (f" and {rest} more" if rest > 0 else "")


def choose_dose(
    records: Sequence[FileRecord],
    chosen: tuple[FileRecord, ...],
    plan: FileRecord | None,
    struct: FileRecord | None,
    *,
    need_dose: bool,
    overrides: Overrides = NO_OVERRIDES,
) -> tuple[FileRecord, ...]:
    """Choose the dose files that make one total; refuse where several totals fit."""
    if chosen:
        return chosen
    doses = of_kind(records, "rtdose")
    if not doses:
        if need_dose:
            raise DicomError(
                "no RTDOSE was found; export the plan dose, or estimate from contours and a "
                "prescription alone: cordgap separation PATH --rx DOSE --fractions N",
                code="rtdose-missing",
            )
        return ()
    if plan is not None:
        doses = [d for d in doses if plan.sop_instance_uid in d.plan_uids] or [
            d for d in doses if not d.plan_uids
        ]
        if not doses:
            raise DicomError(
                f"no RTDOSE refers to the plan {plan.name}; choose the dose with --rtdose",
                code="rtdose-missing",
                file=plan.name,
            )
    if struct is not None:
        doses = [d for d in doses if not frames_differ(struct, d)] or doses
    options = totals_of(doses, overrides)
    if not options:
        raise DicomError(
            f"no RTDOSE stands for a whole plan: {listed_files(doses)}; export the PLAN dose",
            code="dose-not-total",
            expected="DoseSummationType PLAN",
        )
    if len(options) > 1:
        labels = {p.sop_instance_uid: p.label for p in of_kind(records, "rtplan")}
        words = [
            " + ".join(
                str(replace(d, label=next((labels.get(u, "") for u in d.plan_uids), "")))
                for d in option
            )
            for option in options
        ]
        raise AmbiguousInputError(
            f"{len(options)} doses fit: {shortened(words, '; ')}; choose with --rtdose NAME",
            code="several-doses",
            found=f"{len(options)} doses",
            action="choose with --rtdose NAME, or with --rtplan NAME",
        )
    return options[0]


def totals_of(
    doses: Iterable[FileRecord], overrides: Overrides = NO_OVERRIDES
) -> list[tuple[FileRecord, ...]]:
    """Group doses into totals: for each plan its PLAN dose, else its beams, else its groups."""
    by_plan: dict[tuple[str, ...], list[FileRecord]] = {}
    for dose in doses:
        by_plan.setdefault(tuple(sorted(dose.plan_uids)), []).append(dose)
    totals: list[tuple[FileRecord, ...]] = []
    for members in by_plan.values():
        for kind in _WHOLE:
            whole = [d for d in members if d.dose_summation_type == kind]
            if whole:
                totals.extend(_stacks(whole))
                break
        else:
            beams = tuple(d for d in members if d.dose_summation_type == "BEAM")
            totals.extend([beams] if beams else _groups(members, overrides))
    return totals


def _stacks(doses: Sequence[FileRecord]) -> list[tuple[FileRecord, ...]]:
    """Put single-frame files of one series together: they are the planes of one dose."""
    found: dict[str, list[FileRecord]] = {}
    for dose in doses:
        alone = dose.frames > 1 or not dose.series_uid
        found.setdefault(str(dose.path) if alone else dose.series_uid, []).append(dose)
    return [tuple(members) for members in found.values()]


def _groups(members: Sequence[FileRecord], overrides: Overrides) -> list[tuple[FileRecord, ...]]:
    """Put the doses of different fraction groups of one plan together."""
    kinds = _OF_GROUP if overrides.one_fraction else _OF_GROUP[:1]
    doses = [d for d in members if d.dose_summation_type in kinds]
    groups = [d.dose_groups for d in doses]
    if len(doses) > 1 and all(len(g) == 1 for g in groups) and len(set(groups)) == len(groups):
        return [tuple(doses)]
    return _stacks(doses)


def are_planes(doses: Sequence[FileRecord]) -> bool:
    """Tell whether several files may be the planes of one dose."""
    return len(doses) > 1 and all(d.frames == 1 for d in doses)


def total_of(
    doses: tuple[FileRecord, ...],
    plan: FileRecord | None,
    *,
    overrides: Overrides = NO_OVERRIDES,
) -> Total:
    """Check that the chosen doses make one total, and say what they are taken as.

    Raises
    ------
    DicomError
        When they do not, or it cannot be told.
    OptionError
        When the user says that a total is the dose of one fraction.
    """
    kinds = {d.dose_summation_type for d in doses}
    listed = listed_files(doses)
    if len(set(doses)) != len(doses):
        raise DicomError(f"the same dose was chosen twice: {listed}", code="dose-chosen-twice")
    if doses and overrides.one_fraction and not kinds <= set(_OF_GROUP):
        raise OptionError(
            f"--accept one-fraction: {listed} is not the dose of a fraction; expected "
            f"DoseSummationType {' or '.join(_OF_GROUP)}"
        )
    if not doses or (kinds == {"PLAN"} and (len(doses) == 1 or are_planes(doses))):
        return Total(doses)
    if "BEAM" in kinds:
        if kinds != {"BEAM"}:
            raise DicomError(
                f"BEAM doses cannot be added to other doses: {listed}", code="dose-kinds-mixed"
            )
        return Total(doses, (), (_complete_beams(doses, plan),))
    if kinds == {"FRACTION"} or (overrides.one_fraction and kinds <= set(_OF_GROUP)):
        return _of_groups(doses, plan, overrides)
    if not kinds <= set(_WHOLE):
        raise DicomError(
            f"no RTDOSE that stands for a whole plan: {listed}; expected DoseSummationType PLAN, "
            "a complete set of BEAM doses, or FRACTION; export the PLAN dose",
            code="dose-not-total",
            file=doses[0].name,
            found=" and ".join(sorted(kinds)),
            expected="PLAN",
            action="export the PLAN dose",
        )
    if len(doses) > 1 and not are_planes(doses):
        finding = Finding(
            "dose-plans-summed",
            f"{len(doses)} doses were added: {listed}",
            action="check that together they are the whole course",
        )
    else:
        stated = doses[0].dose_summation_type or "no DoseSummationType"
        finding = Finding(
            "dose-summation-unusual",
            f"{doses[0].name} states {stated}; it was taken as the total dose",
            file=doses[0].name,
            found=stated,
            expected="PLAN",
        )
    return Total(doses, (), (finding,))


def _complete_beams(doses: tuple[FileRecord, ...], plan: FileRecord | None) -> Finding:
    names = ", ".join(d.name for d in doses)
    if plan is None:
        raise DicomError(
            f"only BEAM doses were found ({names}) and no RTPLAN that tells whether they are "
            "complete; export the PLAN dose, or the RTPLAN too",
            code="dose-beams-unknown",
            action="export the PLAN dose, or the RTPLAN too",
        )
    have = [number for d in doses for _, number in d.beams]
    need = delivered_beams(plan.path)
    if any(not d.beams for d in doses):
        raise DicomError(
            f"BEAM doses without ReferencedBeamNumber ({names}): it cannot be told whether they "
            "are complete; export the PLAN dose",
            code="dose-beams-unknown",
            action="export the PLAN dose",
        )
    twice = sorted({n for n in have if have.count(n) > 1})
    if twice:
        raise DicomError(
            f"beam {', '.join(map(str, twice))} has more than one BEAM dose ({names}); choose one "
            "of each with --rtdose, or export the PLAN dose",
            code="dose-beam-twice",
            action="choose one dose of each beam with --rtdose",
        )
    missing = sorted(set(need) - set(have))
    if missing or not need:
        raise DicomError(
            f"the sum of BEAM doses is incomplete: found beams {sorted(have)}, the plan "
            f"{plan.name} has {list(need)}; export the PLAN dose or the missing beams",
            code="dose-beams-incomplete",
            file=plan.name,
            found=f"beams {sorted(have)}",
            expected=f"beams {list(need)}",
            action="export the PLAN dose, or the missing beams",
        )
    unknown = sorted(set(have) - set(need))
    if unknown:
        raise DicomError(
            f"BEAM doses of beams {unknown} are not beams of the plan {plan.name}, which has "
            f"{list(need)}; export plan and doses together",
            code="dose-beams-unknown",
            file=plan.name,
            found=f"beams {sorted(have)}",
            expected=f"beams {list(need)}",
        )
    return Finding(
        "dose-summed-from-beams",
        f"the total dose is the sum of the {len(doses)} BEAM doses of {plan.name}, taken as doses "
        "of the whole course",
        severity="info",
        file=plan.name,
    )


def _of_groups(
    doses: tuple[FileRecord, ...],
    plan: FileRecord | None,
    overrides: Overrides,
) -> Total:
    """Doses of fraction groups: all of them, once each."""
    listed = ", ".join(d.name for d in doses)
    planned = fraction_groups(plan.path) if plan is not None else {}
    of_one_group = len({d.dose_groups for d in doses}) == 1
    if len(doses) > 1 and not (are_planes(doses) and of_one_group):
        have = sorted(number for d in doses for number in d.dose_groups)
        if plan is None or have != sorted(planned) or any(len(d.dose_groups) != 1 for d in doses):
            raise DicomError(
                f"several FRACTION doses ({listed}) of fraction groups {have}, the plan has "
                f"{sorted(planned) or 'not been found'}: it cannot be told whether they add up to "
                "the course; choose one, or export the PLAN dose",
                code="dose-groups-incomplete",
                found=f"fraction groups {have}",
                expected=f"fraction groups {sorted(planned)}",
                action="export the PLAN dose",
            )
    elif len(planned) > 1:
        raise DicomError(
            f"{listed} is the dose of one fraction group and the plan {plan and plan.name} has "
            f"{len(planned)}; export the PLAN dose, or the doses of all groups",
            code="dose-groups-incomplete",
            file=doses[0].name,
            found="one fraction group",
            expected=f"{len(planned)} fraction groups",
            action="export the PLAN dose",
        )
    if overrides.one_fraction:
        return _multiplied(doses, planned, overrides.fractions)
    known = "the only one of the plan" if plan is not None else "of a plan that is not there"
    taken = f"of its fraction group, {known}, and was not multiplied"
    if len(doses) > 1 and not of_one_group:
        taken = "of their fraction groups, and were added, not multiplied"
    return Total(
        doses,
        (),
        (
            Finding(
                "dose-summation-fraction",
                f"{listed} states DoseSummationType FRACTION; taken as the total of all fractions "
                f"{taken}",
                file=doses[0].name,
                found="FRACTION",
                expected="PLAN",
                action="check the maximum dose against the planning system; --accept one-fraction "
                "if it is the dose of one fraction",
            ),
        ),
    )


def _multiplied(
    doses: tuple[FileRecord, ...], planned: dict[int, int | None], fractions: int | None
) -> Total:
    factors = []
    for dose in doses:
        counts = [planned.get(group) for group in dose.dose_groups] or list(planned.values())
        count = counts[0] if len(counts) == 1 else None
        if count is None and len(doses) == 1:
            count = fractions
        if count is None:
            raise OptionError(
                f"--accept one-fraction: the number of fractions of {dose.name} is not known; "
                "give --fractions N, or the RTPLAN too"
            )
        factors.append(float(count))
    shown = ", ".join(f"{d.name} x {f:g}" for d, f in zip(doses, factors, strict=True))
    return Total(
        doses,
        tuple(factors),
        (
            Finding(
                "dose-multiplied",
                f"the dose of one fraction was multiplied by the number of fractions, as asked "
                f"for: {shown}",
                file=doses[0].name,
                action="check the maximum dose against the planning system",
            ),
        ),
    )


def frames_differ(a: FileRecord, b: FileRecord) -> bool:
    """Tell whether both state frames of reference and share none."""
    ours, theirs = set(a.frame_of_reference_uids), set(b.frame_of_reference_uids)
    return bool(ours and theirs and not ours & theirs)
