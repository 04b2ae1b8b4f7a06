"""DVHs as an RT Dose object: a DVHSequence that refers to the plan's own dose and structures.

The object holds histograms and no dose grid (DICOM PS3.3 C.8.8.4: the RT DVH Module may be present
in the absence of other dose data): a second copy of a dose under another UID could be added to the
first by whoever sums the doses of a study.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from cordgap._version import __version__
from cordgap.case.case import Case, InputFile
from cordgap.dicom.dataset import items, text
from cordgap.dvh.curve import DVH
from cordgap.dvh.structures import StructureResult
from cordgap.errors import DicomError, OptionError
from cordgap.export.derived import finished, read_source, reference, refuse_originals, start
from cordgap.export.plan import RTDOSE_STORAGE, RTPLAN_STORAGE, RTSTRUCT_STORAGE
from cordgap.report.files import write_file

FloatArray = NDArray[np.float64]

# Widths of a dose bin; the first with which the histogram has at most MAX_BINS bins is taken. A
# decimal string in Explicit VR holds 65 534 bytes, and a bin takes at most 22.
BIN_WIDTHS_GY = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
MAX_BINS = 2000
_SOURCE = (
    "StudyInstanceUID", "FrameOfReferenceUID", "DoseSummationType", "ReferencedRTPlanSequence",
    "SpecificCharacterSet",
)  # fmt: skip


def write_dvh_dose(
    case: Case,
    results: Sequence[StructureResult],
    path: str | Path,
    *,
    comment: str = "",
    identify: bool = False,
) -> tuple[str, ...]:
    """Write cumulative DVHs as the DVHSequence of a new RT Dose object.

    Parameters
    ----------
    case : Case
        Read from DICOM: its files are referred to.
    results : sequence of StructureResult
        Those that are wholly inside the dose grid are written: a DVHSequence has no word for a
        lower bound.
    path : path
        Replaced if it is there.
    comment : str
        How the DVHs were computed; the first 64 characters are kept.
    identify : bool
        Whether patient name, identifier and birth date of ``case.identity`` are written. Without
        it they are empty.

    Returns
    -------
    tuple of str
        Names of the structures that were left out.

    Raises
    ------
    OptionError
        If no structure can be written, or the path is one of the files of the case.
    DicomError
        If the case was not read from an RTSTRUCT and an RTDOSE, or the dose cannot be read again.

    Notes
    -----
    Bins start at 0 Gy and have one width: the n-th volume is what gets at least (n - 1) widths, the
    first is the whole structure. The UIDs are hashes of the input's UIDs and of what is written:
    the same input gives the same object.
    """
    target = Path(path)
    refuse_originals(case, target)
    content, left = dvh_dose_bytes(case, results, comment=comment, identify=identify)
    write_file(target, content)
    return left


def dvh_dose_bytes(
    case: Case, results: Sequence[StructureResult], *, comment: str = "", identify: bool = False
) -> tuple[bytes, tuple[str, ...]]:
    """Return the object that :func:`write_dvh_dose` writes, and the structures left out."""
    struct, doses = _inputs(case)
    kept = [r for r in results if r.status == "ok" and r.dvh is not None]
    if not kept:
        raise OptionError("no structure is wholly inside the dose grid: there is no DVH to write")
    source = read_source(doses[0], _SOURCE)
    ds = start(source, RTDOSE_STORAGE, "RTDOSE", case.identity if identify else {})
    # No InstanceNumber: it is of the General Image Module, which an object without a grid lacks.
    ds.SeriesDescription = "DVHs by cordgap, no dose grid"
    ds.FrameOfReferenceUID = text(source, "FrameOfReferenceUID") or case.frame_of_reference_uid
    ds.PositionReferenceIndicator = ""
    ds.DoseUnits = "GY"
    ds.DoseType = case.dose_type
    # A part of the plan has to say which one; the histograms are of what was taken for the plan.
    summed = text(source, "DoseSummationType")
    ds.DoseSummationType = "MULTI_PLAN" if summed == "MULTI_PLAN" and len(doses) == 1 else "PLAN"
    ds.DoseComment = f"DVHs by cordgap {__version__} {comment}".strip()[:64]
    plans = _plan_uids(case, source)
    if plans:
        ds.ReferencedRTPlanSequence = [reference(RTPLAN_STORAGE, uid) for uid in plans]
    ds.ReferencedStructureSetSequence = [reference(RTSTRUCT_STORAGE, struct.sop_instance_uid)]
    ds.DVHSequence = [_dvh_item(r, case.dose_type) for r in kept]
    left = tuple(r.structure.roi_name for r in results if r not in kept)
    return finished(ds, [struct, *doses]), left


def _inputs(case: Case) -> tuple[InputFile, list[InputFile]]:
    struct = [f for f in case.inputs if f.kind == "rtstruct"]
    doses = [f for f in case.inputs if f.kind == "rtdose" and f.path is not None]
    if not struct or not doses:
        raise DicomError(
            "DVHs are written as DICOM only for a plan that was read from an RTSTRUCT and an "
            "RTDOSE, which they refer to"
        )
    return struct[0], doses


def _plan_uids(case: Case, source: Dataset) -> list[str]:
    """The plan that the dose refers to, or else the one that was read."""
    plans = items(source, "ReferencedRTPlanSequence")
    named = [text(item, "ReferencedSOPInstanceUID") for item in plans]
    read = [f.sop_instance_uid for f in case.inputs if f.kind == "rtplan"]
    return [uid for uid in named if uid] or read


def _dvh_item(result: StructureResult, dose_type: str) -> Any:
    assert result.dvh is not None
    width, volumes = _bins(result.dvh)
    roi: Any = Dataset()
    roi.ReferencedROINumber = result.structure.roi_number
    roi.DVHROIContributionType = "INCLUDED"
    item: Any = Dataset()
    item.DVHReferencedROISequence = [roi]
    item.DVHType = "CUMULATIVE"
    item.DoseUnits = "GY"
    item.DoseType = dose_type
    item.DVHDoseScaling = "1"
    item.DVHVolumeUnits = "CM3"
    item.DVHNumberOfBins = str(volumes.size)
    item.DVHData = [word for v in volumes for word in (f"{width:g}", f"{v:.8g}")]
    item.DVHMinimumDose = f"{result.dvh.min_gy:.8g}"
    item.DVHMaximumDose = f"{result.dvh.max_gy:.8g}"
    item.DVHMeanDose = f"{result.dvh.mean_gy:.8g}"
    return item


def _bins(dvh: DVH) -> tuple[float, FloatArray]:
    """Bin width, and the volume that gets at least each multiple of it; the last is 0."""
    width = next((w for w in BIN_WIDTHS_GY if dvh.max_gy / w < MAX_BINS - 2), BIN_WIDTHS_GY[-1])
    volumes = dvh.resample(width)[1]
    last = int(np.flatnonzero(volumes > 0)[-1]) + 1
    volumes = np.r_[volumes[:last], 0.0]
    # What the metrics say of the whole structure, not what is left after round-off.
    volumes[0] = dvh.total_volume_cc
    return width, np.minimum.accumulate(volumes)
