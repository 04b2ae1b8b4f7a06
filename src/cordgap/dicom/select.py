"""Which files belong together: dose -> plan -> structure set.

References decide. Where they lead to files that are not there, the frame of reference does, with
a warning. Where several files fit, nothing is picked: the message lists them and the option.
"""

from __future__ import annotations

import filecmp
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from cordgap.dicom.discover import Discovery, FileRecord, Kind, read_record
from cordgap.dicom.overrides import NO_OVERRIDES, Overrides
from cordgap.dicom.totals import (
    choose_dose,
    frames_differ,
    listed_files,
    of_kind,
    shortened,
    total_of,
)
from cordgap.errors import AmbiguousInputError, DicomError, Finding, GeometryMismatchError

FileOption = Path | str


@dataclass(frozen=True)
class Selection:
    """The files of one case: doses are to be summed, times their factors; a plan may be missing.

    ``dose_factors`` is empty where every factor is 1. ``copies`` are files left out because they
    hold the same object as another one.
    """

    rtstruct: FileRecord
    rtdose: tuple[FileRecord, ...] = ()
    rtplan: FileRecord | None = None
    findings: tuple[Finding, ...] = ()
    dose_factors: tuple[float, ...] = ()
    copies: tuple[FileRecord, ...] = ()


def select_files(
    found: Discovery | Iterable[FileRecord],
    *,
    rtstruct: FileOption | None = None,
    rtdose: Sequence[FileOption] = (),
    rtplan: FileOption | None = None,
    need_dose: bool = True,
    overrides: Overrides = NO_OVERRIDES,
) -> Selection:
    """Choose the structure set, the dose and the plan that belong together.

    Parameters
    ----------
    found : Discovery or records
        What a folder holds.
    rtstruct, rtdose, rtplan : path or name inside the folder, optional
        What the user chose. Several doses are summed.
    need_dose : bool
        Whether the absence of a dose is an error.
    overrides : Overrides
        What the user takes responsibility for.

    Raises
    ------
    DicomError
        When a file is missing, two patients are mixed, or a sum of beams is incomplete.
    AmbiguousInputError
        When several files fit.
    GeometryMismatchError
        When dose and structures have different frames of reference.
    """
    scanned = found if isinstance(found, Discovery) else Discovery(tuple(found))
    records = scanned.records
    chosen_struct = resolve(records, rtstruct, "rtstruct")
    chosen_plan = resolve(records, rtplan, "rtplan")
    chosen_doses = tuple(r for o in rtdose if (r := resolve(records, o, "rtdose")) is not None)
    chosen = [r for r in (chosen_struct, *chosen_doses, chosen_plan) if r is not None]
    _refuse_unreadable(scanned, chosen, need_dose=need_dose)
    rt_files = [r for r in records if r.kind != "ct" and (not r.derived or r in chosen)]
    records, notes = _without_copies(rt_files, chosen)
    copies = tuple(r for r in rt_files if r not in records)
    records, unknown = _one_patient(records, chosen, overrides)

    plans = [chosen_plan] if chosen_plan else of_kind(records, "rtplan")
    doses = choose_dose(
        records, chosen_doses, chosen_plan, chosen_struct, need_dose=need_dose, overrides=overrides
    )
    plan, plan_notes = _choose_plan(doses, plans, chosen_plan, records)
    total = total_of(doses, plan, overrides=overrides)
    struct, struct_notes = _choose_structures(doses, plan, chosen_struct, records, overrides)
    frame_notes = _check_frames(struct, doses, overrides)
    notes += [*unknown, *plan_notes, *total.findings, *struct_notes, *frame_notes]
    notes += _patient_findings([struct, *doses, *([plan] if plan else [])])
    return Selection(struct, doses, plan, tuple(notes), total.factors, copies)


def _refuse_unreadable(
    scanned: Discovery, chosen: Sequence[FileRecord], *, need_dose: bool
) -> None:
    """Name the damaged files where one of them may be the one that is missing."""
    kinds = {r.kind for r in (*scanned.records, *chosen)}
    needed: set[Kind] = {"rtstruct", "rtdose"} if need_dose else {"rtstruct"}
    missing = sorted(needed - kinds)
    if missing and scanned.findings:
        raise DicomError(
            f"no readable {' or '.join(missing)} was found; "
            + "; ".join(finding.message for finding in scanned.findings),
            code=f"{missing[0]}-missing",
        )


def _without_copies(
    records: Sequence[FileRecord], chosen: Sequence[FileRecord]
) -> tuple[tuple[FileRecord, ...], list[Finding]]:
    """Drop files that are byte-for-byte copies of another one, or of a chosen one."""
    kept = {r.sop_instance_uid: r for r in chosen if r.sop_instance_uid}
    result = list(dict.fromkeys(chosen))
    notes: list[Finding] = []
    for record in records:
        if record in result:
            continue
        other = kept.get(record.sop_instance_uid) if record.sop_instance_uid else None
        if other is None:
            kept[record.sop_instance_uid] = record
            result.append(record)
        elif other in chosen or filecmp.cmp(record.path, other.path, shallow=False):
            notes.append(
                Finding(
                    "file-copy",
                    f"{record.name} is the same object as {other.name} and was left out",
                    severity="info",
                    file=record.name,
                )
            )
        else:
            raise AmbiguousInputError(
                f"{record.name} and {other.name} differ but carry the same SOPInstanceUID; keep "
                "the one that is meant and move the other out of the folder",
                code="same-uid-differs",
                file=record.name,
            )
    return tuple(result), notes


def resolve(
    records: Sequence[FileRecord],
    option: FileOption | None,
    kind: Kind,
    flag: str | None = None,
) -> FileRecord | None:
    """Find the file that an option names: a name inside the folder, or a path.

    ``flag`` is what messages call the option, ``--KIND`` if it is not given.
    """
    if option is None:
        return None
    path = Path(option)
    flag = flag or f"--{kind}"
    named = [
        r for r in records if r.kind == kind and r.path.parts[-len(path.parts) :] == path.parts
    ]
    if len(named) > 1:
        raise AmbiguousInputError(
            f"{flag} {path.name} fits {len(named)} files of the folder; give the path from the "
            f"folder on, such as {'/'.join(named[0].path.parts[-2:])}",
            code="several-files",
            file=path.name,
        )
    if named:
        return named[0]
    if path.is_file():
        same = [r for r in records if r.path.resolve() == path.resolve()]
        record = same[0] if same else read_record(path)
        if record.kind != kind:
            raise DicomError(
                f"{flag} {path.name}: found a file of kind {record.kind.upper()}, expected "
                f"{kind.upper()}",
                code="file-kind",
                file=path.name,
                found=record.kind.upper(),
                expected=kind.upper(),
            )
        return record
    inside = listed_files(of_kind(records, kind)) or "none"
    raise DicomError(
        f"{flag} {path.name}: no such {kind.upper()} file; the folder holds: {inside}",
        code="file-missing",
        file=path.name,
    )


def _one_patient(
    records: tuple[FileRecord, ...], chosen: Sequence[FileRecord], overrides: Overrides
) -> tuple[tuple[FileRecord, ...], list[Finding]]:
    """Keep the files of one patient; refuse a mixture that the options do not resolve.

    Files that share a study or a frame of reference are of one patient, whatever identifier they
    carry: systems rename patients, but these UIDs are unique to one person.
    """
    groups = _linked(records)
    if len(groups) < 2:
        return records, []
    nameless = [members for members in groups if not any(r.patient_key for r in members)]
    named = len(groups) - len(nameless)
    free = [m for m in nameless if not any(_says_whose(r) for r in m)]
    if (
        nameless
        and named < 2
        and (len(nameless) == len(free) or overrides.ignore_frame_of_reference)
    ):
        names = shortened([r.name for members in nameless for r in members], ", ")
        return records, [
            Finding(
                "patient-unknown",
                f"nothing in the files tells whether they are of one patient ({names}); they were "
                "taken as such",
                action="check that they are of one patient",
            )
        ]
    hit = [members for members in groups if any(r in members for r in chosen)]
    if len(hit) == 1:
        return tuple(r for r in records if r in hit[0]), []
    mixed = hit or groups
    if hit and len({r.frame_of_reference_uids for r in chosen if r.frame_of_reference_uids}) > 1:
        return records, []  # the frames of reference differ, which is the clearer message
    listed = "; ".join(
        f"patient {number}: {shortened([r.name for r in members], ', ')}"
        for number, members in enumerate(mixed, start=1)
    )
    raise DicomError(
        f"the files are of {len(mixed)} patients ({listed}); put one patient in a folder, or "
        "choose with --rtstruct and --rtdose",
        code="several-patients",
        found=f"{len(mixed)} patients",
        expected="one patient",
        action="put one patient in a folder, or choose with --rtstruct and --rtdose",
    )


def _linked(records: tuple[FileRecord, ...]) -> list[list[FileRecord]]:
    """Group files that share a patient, a study, a frame of reference or a reference."""
    groups: list[tuple[set[str], list[FileRecord]]] = []
    for record in records:
        keys = {record.study_instance_uid, *record.frame_of_reference_uids}
        keys |= {record.patient_key and f"patient {record.patient_key}"}
        keys |= {record.sop_instance_uid, *record.plan_uids, *record.rtstruct_uids}
        keys.discard("")
        joined, apart = [record], []
        for other_keys, members in groups:
            if keys & other_keys:
                keys |= other_keys
                joined = [*members, *joined]
            else:
                apart.append((other_keys, members))
        groups = [*apart, (keys, joined)]
    return [members for _, members in groups]


def _says_whose(record: FileRecord) -> bool:
    return bool(record.patient_key or record.study_instance_uid or record.frame_of_reference_uids)


def _choose_plan(
    doses: tuple[FileRecord, ...],
    plans: Sequence[FileRecord],
    chosen: FileRecord | None,
    records: Sequence[FileRecord],
) -> tuple[FileRecord | None, list[Finding]]:
    referenced = {uid for dose in doses for uid in dose.plan_uids}
    if chosen is not None:
        if referenced and chosen.sop_instance_uid not in referenced:
            return chosen, [
                Finding(
                    "reference-other-rtplan",
                    f"the dose was computed for another plan than {chosen.name}",
                    file=chosen.name,
                    action="check that the prescription belongs to this dose",
                )
            ]
        return chosen, []
    linked = [p for p in plans if p.sop_instance_uid in referenced]
    if len(linked) == 1:
        return linked[0], []
    if linked:
        return None, [
            Finding(
                "prescription-ambiguous",
                f"the dose belongs to {len(linked)} plans: {listed_files(linked)}",
                action="give the prescription with --rx and --fractions",
            )
        ]
    if doses:
        # A plan that another dose refers to belongs to that dose.
        taken = {uid for r in of_kind(records, "rtdose") if r not in doses for uid in r.plan_uids}
        free = [p for p in plans if p.sop_instance_uid not in taken]
        free = [p for p in free if not any(frames_differ(p, d) for d in doses)]
    else:
        free = list(plans)
    if len(free) != 1:
        why = "no RTPLAN was found"
        if free:
            why = f"it cannot be told which of {len(free)} RTPLAN the dose belongs to"
        return None, [
            Finding(
                "rtplan-missing",
                f"the prescription is not known from the files: {why}",
                severity="info",
                action="give the prescription with --rx and --fractions",
            )
        ]
    if not doses:
        return free[0], []
    plan = free[0]
    states = "refers to a plan that is not there" if referenced else "refers to no plan"
    return plan, [
        Finding(
            "reference-dangling-rtplan",
            f"the dose {states}; {plan.name}, the only plan left, was taken for it",
            file=doses[0].name,
            action="check that the prescription belongs to this dose",
        )
    ]


def _choose_structures(
    doses: tuple[FileRecord, ...],
    plan: FileRecord | None,
    chosen: FileRecord | None,
    records: Sequence[FileRecord],
    overrides: Overrides,
) -> tuple[FileRecord, list[Finding]]:
    sets = of_kind(records, "rtstruct")
    sources = [*doses, *([plan] if plan else [])]
    referenced = {uid for source in sources for uid in source.rtstruct_uids}
    linked = [s for s in sets if s.sop_instance_uid in referenced]
    name = sources[0].name if sources else None
    if chosen is not None:
        if not referenced or chosen in linked:
            return chosen, []
        return chosen, [
            Finding(
                "reference-other-rtstruct" if linked else "reference-dangling-rtstruct",
                f"the dose was computed for another structure set than {chosen.name}",
                file=name,
                action="check that the contours are the ones that were meant",
            )
        ]
    if not sets:
        raise DicomError(
            "no RTSTRUCT was found; export the structure set of the plan", code="rtstruct-missing"
        )
    if len(linked) == 1:
        return linked[0], []
    fitting = linked or [s for s in sets if not any(frames_differ(s, d) for d in doses)]
    if not fitting and overrides.ignore_frame_of_reference:
        fitting = sets
    if len(fitting) > 1:
        raise AmbiguousInputError(
            f"{len(fitting)} structure sets fit: {listed_files(fitting)}; choose with "
            "--rtstruct NAME",
            code="several-rtstructs",
            found=f"{len(fitting)} structure sets",
            action="choose with --rtstruct NAME",
        )
    if not fitting:
        raise GeometryMismatchError(
            f"no structure set shares the frame of reference of {name}: found "
            f"{listed_files(sets)}; export dose and structures of the same image",
            code="frame-of-reference-differs",
            file=name,
            action="export dose and structures of the same image",
        )
    if not doses:
        return fitting[0], []
    states = "refers to a structure set that is not there" if referenced else "names none"
    return fitting[0], [
        Finding(
            "reference-dangling-rtstruct" if referenced else "reference-missing-rtstruct",
            f"{name} {states}; {fitting[0].name}, the only structure set that fits, was taken",
            severity="warning" if referenced else "info",
            file=name,
            action="check that the contours are the ones that were meant",
        )
    ]


def _check_frames(
    struct: FileRecord, doses: tuple[FileRecord, ...], overrides: Overrides
) -> list[Finding]:
    for dose in doses:
        for other in (struct, *doses):
            if not frames_differ(other, dose):
                continue
            if overrides.ignore_frame_of_reference:
                return [
                    Finding(
                        "frame-of-reference-overridden",
                        f"{dose.name} and {other.name} have different frames of reference and were "
                        "taken as one coordinate system, as asked for",
                        file=dose.name,
                        action="look at the contours on the dose before using any number",
                    )
                ]
            found = " and ".join(f"...{r.frame_of_reference_uids[0][-12:]}" for r in (dose, other))
            raise GeometryMismatchError(
                f"{dose.name} and {other.name} have different frames of reference (found {found}): "
                "their coordinates do not belong to the same image; export dose and structures of "
                "the same image",
                code="frame-of-reference-differs",
                file=dose.name,
                found=found,
                expected="one frame of reference",
                action="export dose and structures of the same image; --accept frame-of-reference "
                "where an anonymiser has changed the UIDs",
            )
    silent = [r.name for r in (struct, *doses) if not r.frame_of_reference_uids]
    if not doses or not silent:
        return []
    return [
        Finding(
            "frame-of-reference-missing",
            f"{', '.join(silent)} states no frame of reference: it was not possible to check that "
            "dose and structures share their coordinates",
            file=silent[0],
            action="look at the contours on the dose before using any number",
        )
    ]


def _patient_findings(files: Sequence[FileRecord]) -> list[Finding]:
    keys = {r.patient_key for r in files if r.patient_key}
    if len(keys) < 2:
        return []
    numbers = {key: str(n) for n, key in enumerate(dict.fromkeys(r.patient_key for r in files), 1)}
    listed = ", ".join(f"{r.name} ({numbers[r.patient_key]})" for r in files)
    return [
        Finding(
            "patient-id-differs",
            f"the files carry {len(keys)} patient identifiers, though they are linked: {listed}",
            action="check that they are of one patient",
        )
    ]
