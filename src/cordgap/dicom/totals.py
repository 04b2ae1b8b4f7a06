"""Which dose files make the total dose of a plan.

The PLAN dose, else the complete sum of the plan's beams, else the dose of its only fraction group.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from cordgap.dicom.discover import FileRecord, Kind
from cordgap.dicom.plan import delivered_beams
from cordgap.errors import AmbiguousInputError, DicomError, Finding

# Doses that stand for a whole plan by themselves, the usual one first.
_WHOLE = ("PLAN", "MULTI_PLAN", "PLAN_OVERVIEW", "")
# Longer lists help nobody.
_MAX_LISTED = 12


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
) -> tuple[FileRecord, ...]:
    """Choose the dose files that make one total; refuse where several totals fit."""
    if chosen:
        return chosen
    doses = of_kind(records, "rtdose")
    if not doses:
        if need_dose:
            raise DicomError(
                "no RTDOSE was found; export the plan dose, or estimate from contours and a "
                "prescription alone: cordgap separation PATH --rx DOSE --fractions N"
            )
        return ()
    if plan is not None:
        doses = [d for d in doses if plan.sop_instance_uid in d.plan_uids] or [
            d for d in doses if not d.plan_uids
        ]
        if not doses:
            raise DicomError(
                f"no RTDOSE refers to the plan {plan.name}; choose the dose with --rtdose"
            )
    if struct is not None:
        doses = [d for d in doses if not frames_differ(struct, d)] or doses
    options = _totals(doses)
    if not options:
        raise DicomError(
            f"no RTDOSE stands for a whole plan: {listed_files(doses)}; export the PLAN dose"
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
            f"{len(options)} doses fit: {shortened(words, '; ')}; choose with --rtdose NAME"
        )
    return options[0]


def _totals(doses: Iterable[FileRecord]) -> list[tuple[FileRecord, ...]]:
    """Group doses into totals: for each plan its PLAN dose, else its beams, else fractions."""
    by_plan: dict[tuple[str, ...], list[FileRecord]] = {}
    for dose in doses:
        by_plan.setdefault(tuple(sorted(dose.plan_uids)), []).append(dose)
    totals: list[tuple[FileRecord, ...]] = []
    for members in by_plan.values():
        for kind in _WHOLE:
            whole = [(d,) for d in members if d.dose_summation_type == kind]
            if whole:
                totals.extend(whole)
                break
        else:
            beams = tuple(d for d in members if d.dose_summation_type == "BEAM")
            if beams:
                totals.append(beams)
            else:
                totals.extend((d,) for d in members if d.dose_summation_type == "FRACTION")
    return totals


def check_sum(doses: tuple[FileRecord, ...], plan: FileRecord | None) -> list[Finding]:
    """Check that the chosen doses make one total, and say what they are taken as."""
    kinds = {d.dose_summation_type for d in doses}
    listed = listed_files(doses)
    if len(set(doses)) != len(doses):
        raise DicomError(f"the same dose was chosen twice: {listed}")
    if not doses or (kinds == {"PLAN"} and len(doses) == 1):
        return []
    if "BEAM" in kinds:
        if kinds != {"BEAM"}:
            raise DicomError(f"BEAM doses cannot be added to other doses: {listed}")
        return [_complete_beams(doses, plan)]
    if kinds == {"FRACTION"}:
        return [_fraction_group(doses, plan)]
    if not kinds <= set(_WHOLE):
        raise DicomError(
            f"no RTDOSE that stands for a whole plan: {listed}; expected DoseSummationType PLAN, "
            "a complete set of BEAM doses, or FRACTION; export the PLAN dose"
        )
    if len(doses) > 1:
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
    return [finding]


def _complete_beams(doses: tuple[FileRecord, ...], plan: FileRecord | None) -> Finding:
    names = ", ".join(d.name for d in doses)
    if plan is None:
        raise DicomError(
            f"only BEAM doses were found ({names}) and no RTPLAN that tells whether they are "
            "complete; export the PLAN dose, or the RTPLAN too"
        )
    have = [number for d in doses for _, number in d.beams]
    need = delivered_beams(plan.path)
    if any(not d.beams for d in doses):
        raise DicomError(
            f"BEAM doses without ReferencedBeamNumber ({names}): it cannot be told whether they "
            "are complete; export the PLAN dose"
        )
    twice = sorted({n for n in have if have.count(n) > 1})
    if twice:
        raise DicomError(
            f"beam {', '.join(map(str, twice))} has more than one BEAM dose ({names}); choose one "
            "of each with --rtdose, or export the PLAN dose"
        )
    missing = sorted(set(need) - set(have))
    if missing or not need:
        raise DicomError(
            f"the sum of BEAM doses is incomplete: found beams {sorted(have)}, the plan "
            f"{plan.name} has {list(need)}; export the PLAN dose or the missing beams"
        )
    return Finding(
        "dose-summed-from-beams",
        f"the total dose is the sum of the {len(doses)} BEAM doses of {plan.name}, taken as doses "
        "of the whole course",
        severity="info",
        file=plan.name,
    )


def _fraction_group(doses: tuple[FileRecord, ...], plan: FileRecord | None) -> Finding:
    listed = ", ".join(d.name for d in doses)
    if len(doses) > 1:
        raise DicomError(
            f"several FRACTION doses were chosen ({listed}): it cannot be told whether they add up "
            "to the course; choose one, or export the PLAN dose"
        )
    if plan is not None and plan.fraction_groups > 1:
        raise DicomError(
            f"{listed} is the dose of one fraction group and the plan {plan.name} has "
            f"{plan.fraction_groups}; export the PLAN dose"
        )
    known = "the only one of the plan" if plan is not None else "of a plan that is not there"
    return Finding(
        "dose-summation-fraction",
        f"{listed} states DoseSummationType FRACTION; it was taken as the total of all fractions "
        f"of its fraction group, {known}, and was not multiplied",
        file=doses[0].name,
        found="FRACTION",
        expected="PLAN",
        action="check the maximum dose against the planning system",
    )


def frames_differ(a: FileRecord, b: FileRecord) -> bool:
    """Tell whether both state frames of reference and share none."""
    ours, theirs = set(a.frame_of_reference_uids), set(b.frame_of_reference_uids)
    return bool(ours and theirs and not ours & theirs)
