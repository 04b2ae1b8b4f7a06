"""Small DICOM RT files for tests, written with pydicom alone."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from pydicom import dcmwrite
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

RTSTRUCT = "1.2.840.10008.5.1.4.1.1.481.3"
RTDOSE = "1.2.840.10008.5.1.4.1.1.481.2"
RTPLAN = "1.2.840.10008.5.1.4.1.1.481.5"
CT = "1.2.840.10008.5.1.4.1.1.2"
FRAME = "1.2.826.0.1.3680043.8.498.1"
STUDY = "1.2.826.0.1.3680043.8.498.2"
PATIENT = "SECRET^NAME"
# Direction cosines of rows and columns: the eight patient positions, sagittal and coronal frames.
ORIENTATIONS = {
    "HFS": (1, 0, 0, 0, 1, 0),
    "HFP": (-1, 0, 0, 0, -1, 0),
    "FFS": (-1, 0, 0, 0, 1, 0),
    "FFP": (1, 0, 0, 0, -1, 0),
    "HFDR": (0, 1, 0, -1, 0, 0),
    "HFDL": (0, -1, 0, 1, 0, 0),
    "FFDR": (0, -1, 0, -1, 0, 0),
    "FFDL": (0, 1, 0, 1, 0, 0),
    "sagittal": (0, 1, 0, 0, 0, -1),
    "coronal": (1, 0, 0, 0, 0, -1),
}
HFS = ORIENTATIONS["HFS"]


def field(x, y, z):
    """Dose in Gy without any symmetry; positive on the default grid."""
    return 20 + 0.31 * x - 0.17 * y + 0.07 * z + 0.002 * x * y - 0.0011 * y * z


def circle(radius=6.0, z=0.0, n=24, centre=(0.0, 0.0)):
    t = 2 * np.pi * np.arange(n) / n
    x, y = centre[0] + radius * np.cos(t), centre[1] + radius * np.sin(t)
    return np.c_[x, y, np.full(n, z)]


def tube(radius=6.0, z=range(-12, 13, 3), **how):
    return [circle(radius, float(level), **how) for level in z]


def uid(number) -> str:
    return f"1.2.826.0.1.3680043.8.498.100.{number}"


STRUCT_UID, PLAN_UID = uid(1), uid(3)


def common(sop_class: str, number, frame: str | None = FRAME, patient="SECRET-ID") -> Dataset:
    ds = Dataset()
    ds.SOPClassUID = sop_class
    ds.SOPInstanceUID = uid(number)
    ds.StudyInstanceUID = STUDY
    ds.SeriesInstanceUID = uid(f"9.{number}")
    ds.PatientName = PATIENT
    ds.PatientID = patient
    ds.PatientBirthDate = "19500101"
    if frame:
        ds.FrameOfReferenceUID = frame
    return ds


def reference(ds_uid: str, sop_class: str = RTPLAN) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID = sop_class
    item.ReferencedSOPInstanceUID = ds_uid
    return item


def decimals(values) -> list[str]:
    return [f"{v:.10g}" for v in np.ravel(values)]


def rtstruct(rois=None, *, number=1, frame=FRAME, patient="SECRET-ID") -> Dataset:
    """``rois`` maps a name to contours: (n, 3) arrays or (type, array)."""
    rois = {"SpinalCord": tube(), "GTV": tube(4.0, centre=(12.0, 0.0))} if rois is None else rois
    ds = common(RTSTRUCT, number, None, patient)
    ds.Modality = "RTSTRUCT"
    ds.StructureSetLabel = "contours"
    if frame:
        item = Dataset()
        item.FrameOfReferenceUID = frame
        ds.ReferencedFrameOfReferenceSequence = [item]
    named, drawn, observed = [], [], []
    for index, (name, contours) in enumerate(rois.items(), start=1):
        roi = Dataset()
        roi.ROINumber = index
        if frame:
            roi.ReferencedFrameOfReferenceUID = frame
        roi.ROIName = name
        named.append(roi)
        draw = Dataset()
        draw.ROIDisplayColor = [255, 10 * index, 0]
        draw.ReferencedROINumber = index
        items = []
        for contour in contours:
            kind, points = contour if isinstance(contour, tuple) else ("CLOSED_PLANAR", contour)
            item = Dataset()
            item.ContourGeometricType = kind
            item.NumberOfContourPoints = len(points)
            item.ContourData = decimals(points)
            items.append(item)
        if items:
            draw.ContourSequence = items
        drawn.append(draw)
        observation = Dataset()
        observation.ObservationNumber = index
        observation.ReferencedROINumber = index
        observed.append(observation)
    ds.StructureSetROISequence = named
    ds.ROIContourSequence = drawn
    ds.RTROIObservationsSequence = observed
    return ds


def rtdose(
    dose: Callable[..., np.ndarray] = field,
    *,
    number=2,
    orientation: Sequence[float] = HFS,
    position: Sequence[float] = (-20.0, -24.0, -18.0),
    spacing: Sequence[float] = (3.0, 2.5),
    size: Sequence[int] = (13, 17, 18),
    offsets=None,
    absolute=False,
    kind="PLAN",
    plan: str | None = PLAN_UID,
    beams: Sequence[int] = (),
    struct: str | None = None,
    frame: str | None = FRAME,
    patient="SECRET-ID",
    bits=32,
    scaling: float | None = None,
) -> Dataset:
    """Sample ``dose(x, y, z)``; ``size`` is frames, rows, columns; ``spacing`` row, column."""
    frames, rows, columns = size
    offsets = np.arange(frames) * 3.0 if offsets is None else np.asarray(offsets, float)
    along, down = np.array(orientation[:3], float), np.array(orientation[3:], float)
    normal = np.cross(along, down)
    points = (
        np.array(position, float)
        + offsets[:, None, None, None] * normal
        + (np.arange(rows) * spacing[0])[None, :, None, None] * down
        + (np.arange(columns) * spacing[1])[None, None, :, None] * along
    )
    values = dose(points[..., 0], points[..., 1], points[..., 2]) * np.ones(points.shape[:3])
    scaling = (1e-6 if bits == 32 else 1e-3) if scaling is None else scaling
    ds = common(RTDOSE, number, frame, patient)
    ds.Modality = "RTDOSE"
    ds.ImagePositionPatient = decimals(position)
    ds.ImageOrientationPatient = decimals(orientation)
    ds.PixelSpacing = decimals(spacing)
    ds.SamplesPerPixel = 1
    ds.PhotometricInterpretation = "MONOCHROME2"
    ds.Rows, ds.Columns = rows, columns
    ds.BitsAllocated = ds.BitsStored = bits
    ds.HighBit = bits - 1
    ds.PixelRepresentation = 0
    if frames > 1:
        ds.NumberOfFrames = frames
        ds.FrameIncrementPointer = 0x3004000C
        ds.GridFrameOffsetVector = decimals(offsets + (position[2] if absolute else 0.0))
    ds.DoseUnits = "GY"
    ds.DoseType = "PHYSICAL"
    ds.DoseSummationType = kind
    ds.DoseGridScaling = f"{scaling:g}"
    if plan:
        item = reference(plan)
        if beams:
            group = Dataset()
            group.ReferencedFractionGroupNumber = 1
            group.ReferencedBeamSequence = [Dataset() for _ in beams]
            for beam, n in zip(group.ReferencedBeamSequence, beams, strict=True):
                beam.ReferencedBeamNumber = n
            item.ReferencedFractionGroupSequence = [group]
        ds.ReferencedRTPlanSequence = [item]
    if struct:
        ds.ReferencedStructureSetSequence = [reference(struct, RTSTRUCT)]
    pixels = np.rint(values / scaling).astype(f"<u{bits // 8}")
    ds.PixelData = pixels.tobytes()
    ds["PixelData"].VR = "OW"
    return ds


def rtplan(
    targets=(("SITE", 24.0),), *, number=3, fractions=2, beams=(1, 2), struct=STRUCT_UID, groups=1,
    setup=(),
) -> Dataset:  # fmt: skip
    ds = common(RTPLAN, number)
    ds.Modality = "RTPLAN"
    ds.RTPlanLabel = f"plan{number}"
    references = []
    for index, (kind, dose) in enumerate(targets, start=1):
        item = Dataset()
        item.DoseReferenceNumber = index
        item.DoseReferenceStructureType = kind
        item.DoseReferenceDescription = f"target {index}"
        item.DoseReferenceType = "TARGET"
        item.TargetPrescriptionDose = f"{dose:g}"
        references.append(item)
    ds.DoseReferenceSequence = references
    group_items = []
    for index in range(groups):
        group = Dataset()
        group.FractionGroupNumber = index + 1
        group.NumberOfFractionsPlanned = fractions
        group.ReferencedBeamSequence = []
        for beam in (*beams, *setup):
            item = Dataset()
            item.ReferencedBeamNumber = beam
            group.ReferencedBeamSequence.append(item)
        group_items.append(group)
    ds.FractionGroupSequence = group_items
    ds.BeamSequence = []
    for beam in (*beams, *setup):
        item = Dataset()
        item.BeamNumber = beam
        item.TreatmentDeliveryType = "SETUP" if beam in setup else "TREATMENT"
        ds.BeamSequence.append(item)
    patient = Dataset()
    patient.PatientPosition = "HFS"
    ds.PatientSetupSequence = [patient]
    if struct:
        ds.ReferencedStructureSetSequence = [reference(struct, RTSTRUCT)]
    return ds


def ct_slice(z: float, *, number, value=40, frame=FRAME) -> Dataset:
    ds = common(CT, number, frame)
    ds.Modality = "CT"
    ds.SeriesInstanceUID = uid("9.ct".replace("ct", "77"))
    ds.PatientPosition = "HFS"
    ds.ImagePositionPatient = decimals((-16.0, -16.0, z))
    ds.ImageOrientationPatient = decimals(HFS)
    ds.PixelSpacing = ["2", "2"]
    ds.SamplesPerPixel = 1
    ds.PhotometricInterpretation = "MONOCHROME2"
    ds.Rows = ds.Columns = 16
    ds.BitsAllocated = ds.BitsStored = 16
    ds.HighBit = 15
    ds.PixelRepresentation = 0
    ds.RescaleSlope, ds.RescaleIntercept = "1", "-1024"
    ds.PixelData = np.full((16, 16), value + 1024, "<u2").tobytes()
    ds["PixelData"].VR = "OW"
    return ds


def save(ds: Dataset, path: Path, syntax: str = ImplicitVRLittleEndian, *, bare=False) -> Path:
    """Write a file; ``bare`` leaves out preamble and file meta information."""
    if bare:
        stream = io.BytesIO()
        dcmwrite(stream, ds, implicit_vr=True, little_endian=True)
        path.write_bytes(stream.getvalue())
        return path
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = ds.SOPClassUID
    meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    meta.TransferSyntaxUID = syntax
    ds.file_meta = meta
    ds.preamble = b"\0" * 128
    dcmwrite(path, ds, enforce_file_format=True)
    return path


def plan_folder(folder: Path, **replaced: Dataset | None) -> Path:
    """Write RTSTRUCT, RTDOSE and RTPLAN that belong together; None leaves one out."""
    files = {"rtstruct": rtstruct, "rtdose": rtdose, "rtplan": rtplan}
    folder.mkdir(exist_ok=True)
    for name, build in files.items():
        ds = replaced.get(name, build) if name in replaced else build()
        if ds is not None:
            save(ds, folder / f"{name}.dcm")
    return folder


__all__ = ["ExplicitVRLittleEndian", "ImplicitVRLittleEndian"]
