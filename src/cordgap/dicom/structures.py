"""RTSTRUCT -> structures.

A truncated structure set is refused: it would lose the upper levels of a cord without a word, and
read as safe.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

from pydicom.dataset import Dataset

from cordgap.case.structure import Structure, structure_from_contours
from cordgap.dicom.contours import RawContours, is_whole, read_contours
from cordgap.dicom.dataset import (
    is_cut,
    items,
    numbers,
    open_dataset,
    reading,
    refuse_crowd,
    text,
    whole_number,
)
from cordgap.errors import DicomError, Finding, StructureNotFoundError

Wanted = Collection[str] | Callable[[str], bool]

_KEYWORDS = (
    "SOPInstanceUID",
    "FrameOfReferenceUID",
    "ReferencedFrameOfReferenceSequence",
    "StructureSetROISequence",
    "ROIContourSequence",
    "RTROIObservationsSequence",
)


@dataclass(frozen=True)
class StructureSet:
    """The structures of one RTSTRUCT file, in its order, and what was noticed."""

    structures: tuple[Structure, ...]
    findings: tuple[Finding, ...] = ()


def read_structures(
    path: Path, *, wanted: Wanted | None = None, counted: bool = False
) -> StructureSet:
    """Read the regions of interest of a structure set.

    Parameters
    ----------
    path : Path
        RTSTRUCT file.
    wanted : collection of names, or callable, optional
        Names of the structures to read (case and outer blanks forgiven), or a function from name
        to bool. The contours of the others are not parsed, and they are not in the result.
    counted : bool
        Whether the items of the file were counted before, when it was found.

    Raises
    ------
    DicomError
        When the file is truncated or damaged, or a structure has no number.
    StructureNotFoundError
        When a wanted name is not in the file.
    """
    with reading(path):
        if not counted:
            refuse_crowd(path)
        ds = open_dataset(path, _KEYWORDS)
        _refuse_truncated(ds, path.name)
        named = _roi_names(ds, path.name)
        chosen = _choose(named, wanted, path.name)
        contours = _contours_by_number(ds)
        default_for = _default_frame_of_reference(ds)
        structures = tuple(
            _structure(named_roi, contours.get(named_roi.number, []), path.name, default_for)
            for named_roi in chosen
        )
        findings = _duplicate_names(named, chosen, path.name)
        unnamed = sorted(set(contours) - {n.number for n in named})
    if unnamed and wanted is None:
        findings.append(
            Finding(
                "contours-without-roi",
                f"contours of ROI number {', '.join(map(str, unnamed))} have no name in the "
                "structure set and were left out",
                file=path.name,
            )
        )
    return StructureSet(structures, tuple(findings))


def _refuse_truncated(ds: Dataset, file: str) -> None:
    """Refuse a file that ends early.

    RTROIObservationsSequence is mandatory and is written after the contours, so that its absence
    means a file that was cut inside them (or, rarely, a writer that breaks the standard). So does
    a last contour that holds fewer numbers than it states.
    """
    if "StructureSetROISequence" not in ds:
        raise DicomError(
            f"{file}: the structure set has no StructureSetROISequence: it is truncated or not a "
            "structure set; export it again",
            code="rtstruct-truncated",
            file=file,
            action="export the structure set again",
        )
    rois = items(ds, "ROIContourSequence")
    last = next((c for roi in reversed(rois) if (c := items(roi, "ContourSequence"))), [])
    if is_cut(ds) or "RTROIObservationsSequence" not in ds or (last and not is_whole(last[-1])):
        raise DicomError(
            f"{file}: the structure set is truncated: the file ends before its "
            "RTROIObservationsSequence is complete, so that contours may be missing; export the "
            "structure set again",
            code="rtstruct-truncated",
            file=file,
            action="export the structure set again",
        )


def _contours_by_number(ds: Dataset) -> dict[int, list[Dataset]]:
    """Collect the items of ROIContourSequence by the ROI number that they refer to."""
    found: dict[int, list[Dataset]] = {}
    for roi in items(ds, "ROIContourSequence"):
        number = whole_number(roi, "ReferencedROINumber")
        if number is not None:
            found.setdefault(number, []).append(roi)
    return found


@dataclass(frozen=True)
class _NamedRoi:
    """One item of StructureSetROISequence; ``doubt`` says why its contours cannot be told."""

    number: int
    name: str
    item: Dataset
    doubt: str | None = None


def _roi_names(ds: Dataset, file: str) -> list[_NamedRoi]:
    rois = items(ds, "StructureSetROISequence")
    numbers_of = [whole_number(item, "ROINumber") for item in rois]
    count = Counter(numbers_of)
    found = []
    for item, number in zip(rois, numbers_of, strict=True):
        name = text(item, "ROIName")
        if number is None:
            raise DicomError(
                f"{file}: a structure ({name or 'without name'}) has no valid ROINumber, so that "
                "its contours cannot be told; export the structure set again",
                code="roi-number-missing",
                file=file,
                roi_name=name or None,
                action="export the structure set again",
            )
        doubt = None
        if count[number] > 1:
            others = [
                text(other, "ROIName")
                for other, n in zip(rois, numbers_of, strict=True)
                if n == number and other is not item
            ]
            doubt = (
                f"ROI number {number} stands for {count[number]} structures (also "
                f"{', '.join(map(repr, others))}), so that their contours cannot be told apart"
            )
        found.append(_NamedRoi(number, name or f"ROI {number}", item, doubt))
    return found


def _choose(named: list[_NamedRoi], wanted: Wanted | None, file: str) -> list[_NamedRoi]:
    if wanted is None:
        return named
    if isinstance(wanted, str):
        wanted = (wanted,)
    if callable(wanted):
        return [roi for roi in named if wanted(roi.name)]
    asked = {name.strip().casefold(): name for name in wanted}
    there = {roi.name.casefold() for roi in named}
    missing = [name for key, name in asked.items() if key not in there]
    if missing:
        known = ", ".join(roi.name for roi in named) or "none"
        raise StructureNotFoundError(
            f"{file}: no structure is named {', '.join(map(repr, missing))}; "
            f"the structure set has: {known}",
            file=file,
        )
    return [roi for roi in named if roi.name.casefold() in asked]


def _default_frame_of_reference(ds: Dataset) -> str | None:
    uids = {
        text(item, "FrameOfReferenceUID")
        for item in items(ds, "ReferencedFrameOfReferenceSequence")
    } - {""}
    if len(uids) == 1:
        return uids.pop()
    return text(ds, "FrameOfReferenceUID") or None


def _structure(
    named: _NamedRoi, drawn: list[Dataset], file: str, default_for: str | None
) -> Structure:
    doubt = named.doubt
    if len(drawn) > 1:
        doubt = doubt or (
            f"{len(drawn)} lists of contours refer to its ROI number {named.number}, so that it "
            "cannot be told which is meant"
        )
    roi = drawn[0] if drawn else None
    raw = read_contours(roi) if roi is not None and not doubt else RawContours(())
    findings = _contour_findings(raw, named.name, file)
    if doubt:
        findings.append(
            Finding(
                "roi-number-shared",
                f"{named.name!r} is not used: {doubt}",
                roi_name=named.name,
                file=file,
                action="export the structure set again",
            )
        )
    if raw.damage:
        more = f" and {len(raw.damage) - 1} more" if len(raw.damage) > 1 else ""
        doubt = f"the file is damaged: {raw.damage[0]}{more}"
        findings.append(
            Finding(
                "contour-damaged",
                f"{named.name!r} is not used: {doubt}",
                roi_name=named.name,
                file=file,
                found=raw.damage[0],
                action="export the structure set again",
            )
        )
    return structure_from_contours(
        named.number,
        named.name,
        () if doubt else raw.closed,
        slab_thickness_mm=raw.slab_thickness_mm,
        colour=_colour(roi),
        frame_of_reference_uid=text(named.item, "ReferencedFrameOfReferenceUID") or default_for,
        findings=findings,
        is_xor=raw.is_xor,
        unusable=doubt,
    )


def _contour_findings(raw: RawContours, name: str, file: str) -> list[Finding]:
    findings = []
    if raw.left_out:
        listed = ", ".join(f"{count} {kind}" for kind, count in raw.left_out)
        findings.append(
            Finding(
                "open-contours",
                f"contours that enclose nothing were left out: {listed}",
                severity="warning" if raw.closed and raw.lines else "info",
                roi_name=name,
                file=file,
                found=listed,
                expected="CLOSED_PLANAR",
            )
        )
    if raw.unknown:
        findings.append(
            Finding(
                "contour-type-unknown",
                f"{raw.unknown} contour(s) of a type that is not in the standard were left out",
                roi_name=name,
                file=file,
                found=", ".join(kind for kind, _ in raw.left_out),
                expected="CLOSED_PLANAR",
                action="look at the contours in the planning system",
            )
        )
    if raw.miscounted:
        findings.append(
            Finding(
                "contour-point-count",
                f"{raw.miscounted} contour(s) hold another number of points than they state; "
                "the points that are there were used",
                roi_name=name,
                file=file,
                action="look at the contours in the planning system",
            )
        )
    return findings


def _colour(roi: Dataset | None) -> tuple[int, int, int] | None:
    if roi is None:
        return None
    try:
        values = numbers(roi, "ROIDisplayColor")
    except DicomError:
        return None
    if values is None or len(values) != 3 or not all(0 <= v <= 255 for v in values):
        return None
    return int(values[0]), int(values[1]), int(values[2])


def _duplicate_names(named: list[_NamedRoi], chosen: list[_NamedRoi], file: str) -> list[Finding]:
    findings = []
    numbers_of: dict[str, list[str]] = {}
    for roi in named:
        numbers_of.setdefault(roi.name.casefold(), []).append(str(roi.number))
    for name in dict.fromkeys(roi.name for roi in chosen):
        same = numbers_of[name.casefold()]
        if len(same) > 1:
            findings.append(
                Finding(
                    "duplicate-roi-name",
                    f"{len(same)} structures are named {name!r} (ROI numbers {', '.join(same)})",
                    roi_name=name,
                    file=file,
                    action="rename one of them in the planning system",
                )
            )
    return findings
