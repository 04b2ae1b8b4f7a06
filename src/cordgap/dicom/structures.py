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
from cordgap.dicom.contours import RawContours, read_contours
from cordgap.dicom.dataset import is_cut, items, numbers, open_dataset, reading, text, whole_number
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


def read_structures(path: Path, *, wanted: Wanted | None = None) -> StructureSet:
    """Read the regions of interest of a structure set.

    Parameters
    ----------
    path : Path
        RTSTRUCT file.
    wanted : collection of names, or callable, optional
        Names of the structures to read (case and outer blanks forgiven), or a function from name
        to bool. The contours of the others are not parsed, and they are not in the result.

    Raises
    ------
    DicomError
        When the file is truncated, damaged, or gives one number to two structures.
    StructureNotFoundError
        When a wanted name is not in the file.
    """
    with reading(path):
        ds = open_dataset(path, _KEYWORDS)
        _refuse_truncated(ds, path.name)
        named = _roi_names(ds, path.name)
        chosen = _choose(named, wanted, path.name)
        contours = {
            number: roi
            for roi in items(ds, "ROIContourSequence")
            if (number := whole_number(roi, "ReferencedROINumber")) is not None
        }
        default_for = _default_frame_of_reference(ds)
        structures = tuple(
            _structure(number, item, contours.get(number), path.name, default_for)
            for number, item in chosen.items()
        )
        findings = _duplicate_names(named, chosen, path.name)
        unnamed = sorted(set(contours) - set(named))
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
    means a file that was cut inside them (or, rarely, a writer that breaks the standard).
    """
    if "StructureSetROISequence" not in ds:
        raise DicomError(
            f"{file}: the structure set has no StructureSetROISequence: it is truncated or not a "
            "structure set; export it again"
        )
    if is_cut(ds) or "RTROIObservationsSequence" not in ds:
        raise DicomError(
            f"{file}: the structure set is truncated: the file ends before its "
            "RTROIObservationsSequence is complete, so that contours may be missing; export the "
            "structure set again"
        )


def _roi_names(ds: Dataset, file: str) -> dict[int, Dataset]:
    named: dict[int, Dataset] = {}
    for item in items(ds, "StructureSetROISequence"):
        number = whole_number(item, "ROINumber")
        if number is None:
            raise DicomError(
                f"{file}: a structure ({text(item, 'ROIName') or 'without name'}) has no valid "
                "ROINumber, so that its contours cannot be told; export the structure set again"
            )
        if number in named:
            raise DicomError(
                f"{file}: ROI number {number} stands for two structures "
                f"({text(named[number], 'ROIName')!r} and {text(item, 'ROIName')!r}), so that "
                "their contours cannot be told apart; export the structure set again"
            )
        named[number] = item
    return named


def _choose(named: dict[int, Dataset], wanted: Wanted | None, file: str) -> dict[int, Dataset]:
    if wanted is None:
        return named
    if isinstance(wanted, str):
        wanted = (wanted,)
    if callable(wanted):
        return {n: item for n, item in named.items() if wanted(text(item, "ROIName"))}
    names = {number: text(item, "ROIName").casefold() for number, item in named.items()}
    asked = {name.strip().casefold(): name for name in wanted}
    missing = [name for key, name in asked.items() if key not in names.values()]
    if missing:
        known = ", ".join(text(item, "ROIName") for item in named.values()) or "none"
        raise StructureNotFoundError(
            f"{file}: no structure is named {', '.join(map(repr, missing))}; "
            f"the structure set has: {known}"
        )
    return {n: item for n, item in named.items() if names[n] in asked}


def _default_frame_of_reference(ds: Dataset) -> str | None:
    uids = {
        text(item, "FrameOfReferenceUID")
        for item in items(ds, "ReferencedFrameOfReferenceSequence")
    } - {""}
    if len(uids) == 1:
        return uids.pop()
    return text(ds, "FrameOfReferenceUID") or None


def _structure(
    number: int, item: Dataset, roi: Dataset | None, file: str, default_for: str | None
) -> Structure:
    name = text(item, "ROIName") or f"ROI {number}"
    raw = read_contours(roi, file=file, roi_name=name) if roi is not None else RawContours(())
    return structure_from_contours(
        number,
        name,
        raw.closed,
        slab_thickness_mm=raw.slab_thickness_mm,
        colour=_colour(roi),
        frame_of_reference_uid=text(item, "ReferencedFrameOfReferenceUID") or default_for,
        findings=_contour_findings(raw, name, file),
    )


def _contour_findings(raw: RawContours, name: str, file: str) -> list[Finding]:
    findings = []
    if raw.left_out:
        listed = ", ".join(f"{count} {kind}" for kind, count in raw.left_out)
        findings.append(
            Finding(
                "open-contours",
                f"contours that enclose nothing were left out: {listed}",
                severity="info",
                roi_name=name,
                file=file,
                found=listed,
                expected="CLOSED_PLANAR",
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


def _duplicate_names(
    named: dict[int, Dataset], chosen: dict[int, Dataset], file: str
) -> list[Finding]:
    names = {number: text(item, "ROIName") for number, item in named.items()}
    count = Counter(name.casefold() for name in names.values())
    findings = []
    for name in dict.fromkeys(names[number] for number in chosen):
        if count[name.casefold()] > 1:
            same = [str(n) for n, other in names.items() if other.casefold() == name.casefold()]
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
