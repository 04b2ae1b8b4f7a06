"""What a result adds to the plan as an RT Structure Set that refers to the original.

The object is new (its own UIDs, in the study and the frame of reference of the original), names the
original as its predecessor, and lies on the same planes and the same images.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.charset import default_encoding
from pydicom.dataset import Dataset

from cordgap._version import __version__
from cordgap.analysis import CaseResult
from cordgap.case.case import InputFile
from cordgap.case.structure import PLANE_TOLERANCE_MM
from cordgap.dicom.dataset import items, raw_bytes, text, whole_number
from cordgap.errors import DicomError, OptionError
from cordgap.export.derived import finished, read_source, reference, refuse_originals, start
from cordgap.export.outlines import slab_thickness_mm
from cordgap.export.plan import (
    CONTOUR_DATA,
    RTSTRUCT_STORAGE,
    STUDY_CLASS,
    contour_data,
    decimal,
)
from cordgap.export.rois import Roi, derived_rois, separations_of
from cordgap.report.files import write_file

FloatArray = NDArray[np.float64]

_SOURCE = (
    "StudyInstanceUID", "FrameOfReferenceUID", "ReferencedFrameOfReferenceSequence",
    "ROIContourSequence", "SpecificCharacterSet",
)  # fmt: skip
# Class and instance of an image.
_Image = tuple[str, str]


def write_rtstruct(
    result: CaseResult,
    path: str | Path,
    *,
    at_mm: float | None = None,
    identify: bool = False,
) -> tuple[str, ...]:
    """Write what is removed and left, the shell and the cord's PRV as a structure set.

    Parameters
    ----------
    result : CaseResult
        Of a plan that was read from DICOM.
    path : path
        Replaced if it is there; never a file of the plan.
    at_mm : float, optional
        A separation in mm in place of the required one and of what to make.
    identify : bool
        Whether patient name, identifier and birth date are written.

    Returns
    -------
    tuple of str
        What was left out, and why.

    Raises
    ------
    OptionError
        If there is nothing to write, or the path is one of the files of the plan.
    DicomError
        If the plan was not read from an RTSTRUCT, or that cannot be read again.
    """
    target = Path(path)
    refuse_originals(result.case, target)
    content, notes = rtstruct_bytes(result, at_mm=at_mm, identify=identify)
    write_file(target, content)
    return notes


def rtstruct_bytes(
    result: CaseResult, *, at_mm: float | None = None, identify: bool = False
) -> tuple[bytes, tuple[str, ...]]:
    """Return the object that :func:`write_rtstruct` writes, and what was left out."""
    case = result.case
    struct = next((f for f in case.inputs if f.kind == "rtstruct" and f.path is not None), None)
    if struct is None:
        raise DicomError(
            "structures are written as DICOM only for a plan that was read from an RTSTRUCT, which "
            "they refer to"
        )
    separations = separations_of(result, at_mm)
    rois, notes = derived_rois(result, separations)
    rois = tuple(roi for roi in rois if roi.planes)
    if not rois:
        raise OptionError("there is no region to write: " + "; ".join(notes))
    source = read_source(struct, _SOURCE)
    frame = _frame(source, rois, struct, case.frame_of_reference_uid)
    ds = start(source, RTSTRUCT_STORAGE, "RTSTRUCT", case.identity if identify else {})
    ds.SeriesDescription = "Separation by cordgap"
    ds.InstanceNumber = "1"
    ds.FrameOfReferenceUID = frame.FrameOfReferenceUID
    ds.PositionReferenceIndicator = ""
    ds.StructureSetLabel = "cordgap"
    ds.StructureSetName = "Separation of tumour from cord"
    ds.StructureSetDescription = (
        f"Derived by cordgap {__version__}; research and second-check use, not for planning "
        "without review"
    )
    ds.StructureSetDate = ds.StructureSetTime = ""
    ds.ReferencedFrameOfReferenceSequence = [frame]
    ds.PredecessorStructureSetSequence = [reference(RTSTRUCT_STORAGE, struct.sop_instance_uid)]
    numbered = list(enumerate(rois, start=1))
    ds.StructureSetROISequence = [_roi_item(n, roi, ds.FrameOfReferenceUID) for n, roi in numbered]
    ds.ROIContourSequence = [_contours_item(n, roi, source) for n, roi in numbered]
    ds.RTROIObservationsSequence = [_observation_item(n, roi) for n, roi in numbered]
    ds.ApprovalStatus = "UNAPPROVED"
    return finished(ds, [struct], long_values=True), notes


def _frame(source: Dataset, rois: Sequence[Roi], struct: InputFile, default: str | None) -> Any:
    """The frame of reference of the original, with the images that it was drawn on."""
    uid = next((r.source.frame_of_reference_uid for r in rois), None) or default
    if not uid:
        raise DicomError(
            f"{struct.file}: no frame of reference is stated, so that a new structure set would "
            "have no place in the patient: export the structure set again",
            file=struct.file,
        )
    frame: Any = Dataset()
    frame.FrameOfReferenceUID = uid
    for item in items(source, "ReferencedFrameOfReferenceSequence"):
        if text(item, "FrameOfReferenceUID") == uid and (studies := list(_studies(item, source))):
            frame.RTReferencedStudySequence = studies
            break
    return frame


def _studies(frame: Dataset, source: Dataset) -> Iterator[Any]:
    for item in items(frame, "RTReferencedStudySequence"):
        all_series = []
        for series in items(item, "RTReferencedSeriesSequence"):
            uid, images = text(series, "SeriesInstanceUID"), list(_images(series))
            if uid and images:
                copy: Any = Dataset()
                copy.SeriesInstanceUID = uid
                copy.ContourImageSequence = [reference(*image) for image in images]
                all_series.append(copy)
        if all_series:
            study_uid = text(item, "ReferencedSOPInstanceUID") or text(source, "StudyInstanceUID")
            study = reference(text(item, "ReferencedSOPClassUID") or STUDY_CLASS, study_uid)
            study.RTReferencedSeriesSequence = all_series
            yield study


def _images(item: Dataset) -> Iterator[_Image]:
    for image in items(item, "ContourImageSequence"):
        pair = text(image, "ReferencedSOPClassUID"), text(image, "ReferencedSOPInstanceUID")
        if all(pair):
            yield pair


def _images_by_plane(source: Dataset, roi_number: int) -> list[tuple[float, _Image]]:
    """Images that the contours of a structure were drawn on, by z."""
    found = []
    for roi in items(source, "ROIContourSequence"):
        if whole_number(roi, "ReferencedROINumber") != roi_number:
            continue
        for contour in items(roi, "ContourSequence"):
            image = next(_images(contour), None)
            start_of = (raw_bytes(contour, CONTOUR_DATA) or b"").split(b"\\", 3)[:3]
            if image is not None and len(start_of) == 3:
                found.append((float(start_of[2]), image))
    return found


def _roi_item(number: int, roi: Roi, frame_uid: str) -> Any:
    item: Any = Dataset()
    item.ROINumber = number
    item.ReferencedFrameOfReferenceUID = frame_uid
    item.ROIName = roi.name
    item.ROIDescription = roi.description
    item.ROIGenerationAlgorithm = "AUTOMATIC"
    return item


def _contours_item(number: int, roi: Roi, source: Dataset) -> Any:
    item: Any = Dataset()
    item.ROIDisplayColor = [int(roi.colour[i : i + 2], 16) for i in (1, 3, 5)]
    item.ReferencedROINumber = number
    images = _images_by_plane(source, roi.source.roi_number)
    # Readers take the thickness from the distance of planes, which a single one does not have.
    thickness = slab_thickness_mm(roi.source) if len(roi.planes) == 1 else None
    contours = []
    for z, rings in roi.planes:
        image = min(images, key=lambda pair: abs(pair[0] - z), default=None)
        for ring in rings:
            contour: Any = Dataset()
            # Coordinates are bytes in the encoding of the file: written as they are, not parsed.
            contour.set_original_encoding(True, True, default_encoding)
            if image is not None and abs(image[0] - z) <= PLANE_TOLERANCE_MM:
                contour.ContourImageSequence = [reference(*image[1])]
            contour.ContourGeometricType = "CLOSED_PLANAR"
            if thickness:
                contour.ContourSlabThickness = decimal(thickness)
            contour.NumberOfContourPoints = len(ring)
            contour[CONTOUR_DATA] = contour_data(ring, z)
            contours.append(contour)
    item.ContourSequence = contours
    return item


def _observation_item(number: int, roi: Roi) -> Any:
    item: Any = Dataset()
    item.ObservationNumber = number
    item.ReferencedROINumber = number
    item.RTROIInterpretedType = roi.interpreted_type
    item.ROIInterpreter = ""
    return item
