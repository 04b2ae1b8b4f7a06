"""Which structure is the cord, and which is the target: by role, never by guessing."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cordgap.case.case import Case
from cordgap.case.naming import TARGET_ROLES, Role
from cordgap.case.structure import Structure
from cordgap.dvh.surface import search_tree
from cordgap.errors import AmbiguousInputError, Finding, OptionError, StructureNotFoundError

_POINT_STEP_MM = 0.5
# What may stand in for a cord that is not contoured, best first.
_STAND_INS: tuple[Role, ...] = ("cord_prv", "thecal_sac", "canal")


@dataclass(frozen=True, eq=False)
class Choice:
    """A chosen structure, how it was found, and what there is to say about it."""

    structure: Structure
    source: str
    findings: tuple[Finding, ...] = ()


def choose_cord(case: Case, roi_name: str | None = None) -> Choice:
    """Choose the structure that millimetres are measured from.

    Raises
    ------
    StructureNotFoundError
        If there is no cord, PRV, thecal sac or canal; lists the names that are there.
    AmbiguousInputError
        If several structures are the cord; lists them.
    """
    if roi_name is not None:
        structure = case.structure(roi_name)
        if structure.role in TARGET_ROLES:
            raise OptionError(f"--cord {roi_name}: that is a target by its name, not a cord")
        stands_in = structure.role not in ("cord", "other")
        return Choice(structure, "option --cord", (_stand_in(structure),) if stands_in else ())
    for role in ("cord", *_STAND_INS):
        found = [s for s in case.structures if s.role == role and s.status == "ok"]
        exact = [s for s in found if s.named.source == "TG-263"] or found
        if len(exact) > 1:
            names = ", ".join(repr(s.roi_name) for s in exact)
            raise AmbiguousInputError(
                f"{len(exact)} structures could be the cord: {names}; choose one with --cord NAME"
            )
        if exact:
            structure = exact[0]
            findings: list[Finding] = []
            if role != "cord":
                findings.append(_stand_in(structure))
            if len(found) > 1:
                others = ", ".join(repr(s.roi_name) for s in found if s is not structure)
                findings.append(
                    Finding(
                        "several-cords",
                        f"{structure.roi_name!r} has the TG-263 name and is taken as the cord; "
                        f"there is also {others}",
                        roi_name=structure.roi_name,
                        action="choose with --cord NAME if another one is meant",
                    )
                )
            if structure.named.numbered:
                findings.append(
                    Finding(
                        "numbered-name",
                        f"{structure.roi_name!r} is taken as the cord; its name carries a number, "
                        "as copies do",
                        roi_name=structure.roi_name,
                        action="see that it is the current contour",
                    )
                )
            return Choice(structure, structure.named.source, tuple(findings))
    empty = [s.roi_name for s in case.structures if s.role == "cord"]
    if empty:
        raise StructureNotFoundError(
            f"the cord {empty[0]!r} has no usable contour; draw it, or choose another structure "
            "with --cord NAME"
        )
    names = ", ".join(s.roi_name for s in case.structures) or "none"
    raise StructureNotFoundError(
        f"no structure is known as the spinal cord. The structure set has: {names}. Choose one "
        "with --cord NAME, or name it SpinalCord (AAPM TG-263)"
    )


def choose_target(case: Case, cord: Structure, roi_name: str | None = None) -> Choice:
    """Choose the target: GTV, else CTV; the one nearest the cord where there are several.

    Raises
    ------
    StructureNotFoundError
        If there is neither GTV nor CTV; a PTV has to be named.
    """
    if roi_name is not None:
        structure = case.structure(roi_name)
        if structure is cord or structure.role in ("cord", *_STAND_INS):
            raise OptionError(f"--target {roi_name}: that is the cord or surrounds it")
        return Choice(structure, "option --target", _about_target(structure))
    for role in ("gtv", "ctv"):
        found = [s for s in case.structures if s.role == role and s.status == "ok"]
        if not found:
            continue
        nearest = found[0]
        if len(found) > 1:
            nearest = min(found, key=lambda s: _rough_distance_mm(s, cord))
        findings = list(_about_target(nearest))
        if len(found) > 1:
            names = ", ".join(repr(s.roi_name) for s in found if s is not nearest)
            findings.append(
                Finding(
                    "several-targets",
                    f"{nearest.roi_name!r} is nearest the cord and is taken as the target; there "
                    f"is also {names}",
                    roi_name=nearest.roi_name,
                    action="choose with --target NAME if another one is meant",
                )
            )
        return Choice(nearest, nearest.named.source, tuple(findings))
    targets = [s.roi_name for s in case.structures if s.role in TARGET_ROLES]
    names = ", ".join(s.roi_name for s in case.structures) or "none"
    hint = f" A PTV has to be named: {', '.join(targets)}." if targets else ""
    raise StructureNotFoundError(
        f"no structure is known as GTV or CTV.{hint} The structure set has: {names}. Choose one "
        "with --target NAME"
    )


def _stand_in(structure: Structure) -> Finding:
    return Finding(
        "distance-structure-stand-in",
        f"no true cord: millimetres are measured from {structure.roi_name!r} "
        f"({structure.role.replace('_', ' ')})",
        roi_name=structure.roi_name,
        action="contour the cord on MRI or CT myelogram",
    )


def _about_target(structure: Structure) -> tuple[Finding, ...]:
    if structure.role == "gtv":
        return ()
    if structure.role == "ctv":
        message = (
            "the target is a CTV: after surgery a CTV still covers the pre-operative epidural "
            "extent (Redmond 2017), so that it does not recede with the tumour"
        )
    elif structure.role == "ptv":
        message = "the target is a PTV: it holds more than tumour, so that no resection is given"
    else:
        message = f"{structure.roi_name!r} is not known as a GTV by its name"
    return (Finding("target-not-gtv", message, roi_name=structure.roi_name),)


def _rough_distance_mm(target: Structure, cord: Structure) -> float:
    """Distance between two structures, from points along their contours."""
    distance, _ = search_tree(_points(cord)).query(_points(target))
    return float(np.min(distance))


def _points(structure: Structure) -> NDArray[np.float64]:
    """Points (n, 3) along all contours, no farther apart than ``_POINT_STEP_MM``."""
    found = []
    for plane in structure.planes:
        for ring in plane.contours:
            edges = np.roll(ring, -1, axis=0) - ring
            n = int(np.ceil(np.hypot(edges[:, 0], edges[:, 1]).max() / _POINT_STEP_MM)) or 1
            shares = (np.arange(n) / n)[:, None, None]
            points = (ring + shares * edges).reshape(-1, 2)
            found.append(np.c_[points, np.full(len(points), plane.z_mm)])
    return np.concatenate(found)
