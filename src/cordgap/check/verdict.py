"""The verdict on an input: usable, usable with warnings, refused."""

from __future__ import annotations

from dataclasses import dataclass

from cordgap.case.case import Case, IgnoredFile, InputFile, Prescription
from cordgap.case.structure import Structure
from cordgap.check.findings import case_findings
from cordgap.dvh.solid import build_solid
from cordgap.errors import (
    CordgapError,
    Finding,
    InputWord,
    Severity,
    verdict_of,
)
from cordgap.separation.select import choose_cord, choose_target


@dataclass(frozen=True)
class InputVerdict:
    """Verdict, findings, files used and ignored, and the structures that were chosen."""

    word: InputWord
    findings: tuple[Finding, ...]
    used: tuple[InputFile, ...]
    ignored: tuple[IgnoredFile, ...] = ()
    cord: Structure | None = None
    target: Structure | None = None


def judge(
    case: Case | None,
    findings: tuple[Finding, ...],
    *,
    cord: str | None = None,
    target: str | None = None,
    prescription: Prescription | None = None,
) -> InputVerdict:
    """Judge a case as read; ``None`` where reading itself was refused.

    Parameters
    ----------
    findings : tuple of Finding
        What is known already, such as the reason of a refusal.
    cord, target : str, optional
        Names given by the user.
    prescription : Prescription, optional
    """
    found = list(findings)
    used: tuple[InputFile, ...] = ()
    ignored: tuple[IgnoredFile, ...] = ()
    chosen_cord = chosen_target = None
    if case is not None:
        found += case.findings
        used = case.inputs
        ignored = case.ignored
        try:
            choice = choose_cord(case, cord)
            found += choice.findings
            chosen_cord = choice.structure
            choice = choose_target(case, chosen_cord, target)
            found += choice.findings
            chosen_target = choice.structure
        except CordgapError as error:
            severity: Severity = "warning" if chosen_cord is not None else "error"
            found.append(error.finding(severity))
        for structure in case.structures:
            found += structure.findings
            if structure.status != "ok":
                found.append(
                    Finding(
                        f"structure-{structure.status}",
                        f"{structure.roi_name}: {structure.reason}",
                        severity="error" if structure is chosen_cord else "info",
                        roi_name=structure.roi_name,
                    )
                )
                continue
            try:
                found += build_solid(structure).findings
            except CordgapError as error:
                found.append(error.finding("error" if structure is chosen_cord else "warning"))
        found += case_findings(
            case, cord=chosen_cord, target=chosen_target, prescription=prescription
        )
    unique = tuple(dict.fromkeys(found))
    return InputVerdict(verdict_of(unique), unique, used, ignored, chosen_cord, chosen_target)
