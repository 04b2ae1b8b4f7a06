"""A case as DICOM files: CT series, RTSTRUCT, RTPLAN and RTDOSE that refer to one another."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.tag import Tag
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    generate_uid,
)

from cordgap.case.case import Case
from cordgap.case.grid import FloatArray, GridGeometry
from cordgap.case.naming import TARGET_ROLES
from cordgap.case.structure import Structure
from cordgap.errors import GeometryMismatchError, OptionError, OutOfRangeError

PATIENT_NAME = "CORDGAP^PHANTOM"
MANUFACTURER = "cordgap phantom"
STUDY_DATE, STUDY_TIME = "20260101", "120000"

CT_STORAGE = "1.2.840.10008.5.1.4.1.1.2"
RTDOSE_STORAGE = "1.2.840.10008.5.1.4.1.1.481.2"
RTSTRUCT_STORAGE = "1.2.840.10008.5.1.4.1.1.481.3"
RTPLAN_STORAGE = "1.2.840.10008.5.1.4.1.1.481.5"
# Detached Study Management, retired, but the class that Referenced Study items still carry.
STUDY_CLASS = "1.2.840.10008.3.1.2.3.1"

CONTOUR_DATA = Tag("ContourData")
HU_OFFSET = -1024  # stored value 0
# PixelSpacing is one number a direction: an axis may leave its even spacing by this much.
EVEN_TOLERANCE_MM = 1e-3
# Direction of a row and of a column of the stored samples in patient coordinates, by where the
# patient faces on the table, seen from the front of the scanner (DICOM PS3.3 C.7.3.1.1.2).
ORIENTATIONS = {
    "HFS": (1, 0, 0, 0, 1, 0),
    "HFP": (-1, 0, 0, 0, -1, 0),
    "FFS": (-1, 0, 0, 0, 1, 0),
    "FFP": (1, 0, 0, 0, -1, 0),
    "HFDR": (0, 1, 0, -1, 0, 0),
    "HFDL": (0, -1, 0, 1, 0, 0),
    "FFDR": (0, -1, 0, -1, 0, 0),
    "FFDL": (0, 1, 0, 1, 0, 0),
}
_INTERPRETED = {
    "gtv": "GTV", "ctv": "CTV", "ptv": "PTV", "body": "EXTERNAL", "cord_prv": "AVOIDANCE",
}  # fmt: skip
_DEFAULT_COLOUR = (255, 160, 0)
_ALL = (slice(None), slice(None))


@dataclass(frozen=True)
class WrittenPlan:
    """Where the files of a written case are."""

    rtstruct: Path
    rtdose: Path | None
    rtplan: Path | None
    images: tuple[Path, ...]

    @property
    def files(self) -> tuple[Path, ...]:
        """All files, the images first."""
        rest = (self.rtstruct, self.rtplan, self.rtdose)
        return self.images + tuple(path for path in rest if path is not None)


def write_plan(
    case: Case,
    folder: str | Path,
    *,
    deflated: bool = False,
    dose_bits: Literal[16, 32] = 32,
    patient_id: str = "CORDGAP",
    label: str | None = None,
) -> WrittenPlan:
    """Write a case as DICOM into a folder: ``CT0001.dcm`` ..., ``RS.dcm``, ``RP.dcm``, ``RD.dcm``.

    Without an image there is no CT, without a dose no RTDOSE, without either dose or prescription
    no RTPLAN. Nothing of ``case.identity`` is written: the patient is always
    ``CORDGAP^PHANTOM``.

    Parameters
    ----------
    case : Case
    folder : path
        Made if missing. Files of the same names are replaced.
    deflated : bool
        Deflated Explicit VR Little Endian in place of Explicit VR Little Endian.
    dose_bits : {16, 32}
        Size of a dose sample; the rounding error is at most the largest dose / 2**(bits + 1).
    patient_id : str
        Made for phantoms: never a real one.
    label : str, optional
        Label of plan and structure set, at most 16 characters; the case's id by default.

    Returns
    -------
    WrittenPlan
        The paths.

    Raises
    ------
    OptionError
        When the label is too long or ``dose_bits`` is neither 16 nor 32.
    GeometryMismatchError
        When an axis that DICOM describes by one spacing is uneven.
    OutOfRangeError
        When the dose is negative or not finite.

    Notes
    -----
    Samples of CT and dose are stored along the axes that belong to ``case.patient_position``
    (``ORIENTATIONS``; any other word is stored like HFS): the same samples in space, another order.

    UIDs are hashes of the content and of ``patient_id``: the same case gives the same files, and
    different cases never share a UID. Contour coordinates are written to 1e-5 mm, CT numbers as
    integers from -1024 to 3071 HU.
    """
    name = label if label is not None else case.case_id[:16]
    if len(name) > 16:
        raise OptionError(f"a DICOM label has at most 16 characters, {name!r} has {len(name)}")
    if dose_bits not in (16, 32):
        raise OptionError(f"dose samples have 16 or 32 bits, not {dose_bits}")
    target = Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    writer = CaseWriter(case, patient_id, name, deflated)
    images = writer.write_images(target)
    rtstruct = writer.write_rtstruct(target / "RS.dcm")
    needs_plan = case.dose is not None or case.prescription is not None
    rtplan = writer.write_rtplan(target / "RP.dcm") if needs_plan else None
    rtdose = writer.write_rtdose(target / "RD.dcm", dose_bits) if case.dose is not None else None
    return WrittenPlan(rtstruct, rtdose, rtplan, images)


def _digest(case: Case) -> str:
    """Hash everything that is written, so that equal cases and only those share their UIDs."""
    hashed = hashlib.sha256(case.case_id.encode())
    for structure in case.structures:
        hashed.update(f"{structure.roi_number}|{structure.roi_name}".encode())
        for plane in structure.planes:
            hashed.update(np.float64(plane.z_mm).tobytes())
            for contour in plane.contours:
                hashed.update(np.ascontiguousarray(contour, dtype="<f8").tobytes())
    for grid in (case.dose, case.image):
        if grid is not None:
            for array in (*grid.geometry.axes, grid.values):
                hashed.update(np.ascontiguousarray(array, dtype="<f8").tobytes())
    if case.patient_position not in (None, "HFS"):
        hashed.update(case.patient_position.encode())
    if case.prescription is not None:
        hashed.update(f"{case.prescription.dose_gy!r}|{case.prescription.fractions}".encode())
    return hashed.hexdigest()


class CaseWriter:
    """The identifiers that the files of one case share, and a method a file."""

    def __init__(self, case: Case, patient_id: str, label: str, deflated: bool) -> None:
        self.case, self.patient_id, self.label = case, patient_id, label
        self.syntax = DeflatedExplicitVRLittleEndian if deflated else ExplicitVRLittleEndian
        self.seed = f"{patient_id}|{_digest(case)}"
        self.frame_uid = case.frame_of_reference_uid or self.uid("frame")
        self.ct_z_mm = case.image.geometry.z_mm if case.image is not None else np.empty(0)

    def uid(self, name: str) -> str:
        """Return the UID of that name: the same for the same case."""
        return str(generate_uid(entropy_srcs=[self.seed, name]))

    def reference(self, sop_class_uid: str, name: str) -> Any:
        """Return an item that refers to an object of the case."""
        item = Dataset()
        item.ReferencedSOPClassUID = sop_class_uid
        item.ReferencedSOPInstanceUID = self.uid(name)
        return item

    def start(self, sop_class_uid: str, name: str, modality: str) -> Any:
        """Return a dataset with the patient, study, series, equipment and SOP modules."""
        ds = Dataset()
        ds.SpecificCharacterSet = "ISO_IR 192"
        ds.SOPClassUID = sop_class_uid
        ds.SOPInstanceUID = self.uid(name)
        ds.StudyDate, ds.StudyTime = STUDY_DATE, STUDY_TIME
        ds.AccessionNumber = ""
        ds.Modality = modality
        ds.Manufacturer = MANUFACTURER
        ds.ManufacturerModelName = "cordgap"
        ds.ReferringPhysicianName = ""
        ds.StudyDescription = "Phantom, not a patient"
        ds.SeriesDescription = f"{self.label} {modality}"
        ds.OperatorsName = ""
        ds.PatientName = PATIENT_NAME
        ds.PatientID = self.patient_id
        ds.PatientBirthDate = ""
        ds.PatientSex = "O"
        ds.StudyInstanceUID = self.uid("study")
        ds.SeriesInstanceUID = self.uid(f"series {modality}")
        ds.StudyID = "1"
        ds.SeriesNumber = str(("CT", "RTSTRUCT", "RTPLAN", "RTDOSE", "REG").index(modality) + 1)
        ds.InstanceNumber = "1"
        ds.FrameOfReferenceUID = self.frame_uid
        ds.PositionReferenceIndicator = ""
        return ds

    def save(self, ds: Any, path: Path) -> Path:
        """Write a dataset as a DICOM file."""
        meta = FileMetaDataset()
        meta.MediaStorageSOPClassUID = ds.SOPClassUID
        meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
        meta.TransferSyntaxUID = self.syntax
        ds.file_meta = meta
        ds.save_as(path, enforce_file_format=True)
        return path

    def write_images(self, folder: Path) -> tuple[Path, ...]:
        """Write the CT slices."""
        image = self.case.image
        if image is None:
            return ()
        grid = image.geometry
        thickness = grid.spacing_mm[2] if grid.z_mm.size > 1 else 1.0
        stored = np.clip(np.rint(image.values) - HU_OFFSET, 0, 4095).astype("<u2")
        paths = []
        for index, z in enumerate(grid.z_mm):
            frame = _Frames.of(
                stored[index : index + 1], grid.part((slice(index, index + 1), *_ALL)),
                self.case.patient_position, "image",
            )  # fmt: skip
            ds = self.start(CT_STORAGE, f"ct {index}", "CT")
            ds.ImageType = ["DERIVED", "SECONDARY", "AXIAL"]
            ds.InstanceNumber = str(index + 1)
            ds.AcquisitionNumber = "1"
            ds.KVP = "120"
            ds.SliceThickness = decimal(thickness)
            ds.PatientPosition = self.case.patient_position or "HFS"
            frame.place(ds)
            ds.SliceLocation = decimal(z)
            ds.RescaleIntercept, ds.RescaleSlope = str(HU_OFFSET), "1"
            ds.RescaleType = "HU"
            ds.WindowCenter, ds.WindowWidth = "50", "400"
            _set_pixels(ds, frame.samples[0], bits_stored=12)
            paths.append(self.save(ds, folder / f"CT{index + 1:04d}.dcm"))
        return tuple(paths)

    def write_rtstruct(self, path: Path) -> Path:
        """Write the structure set."""
        ds = self.start(RTSTRUCT_STORAGE, "rtstruct", "RTSTRUCT")
        ds.StructureSetLabel = self.label
        ds.StructureSetDate, ds.StructureSetTime = STUDY_DATE, STUDY_TIME
        ds.ReferencedFrameOfReferenceSequence = [self._frame_item()]
        ds.StructureSetROISequence = [self._roi_item(s) for s in self.case.structures]
        ds.ROIContourSequence = [self._contour_item(s) for s in self.case.structures]
        ds.RTROIObservationsSequence = [_observation_item(s) for s in self.case.structures]
        ds.ApprovalStatus = "UNAPPROVED"
        return self.save(ds, path)

    def _frame_item(self) -> Any:
        frame = Dataset()
        frame.FrameOfReferenceUID = self.frame_uid
        if self.ct_z_mm.size:
            series = Dataset()
            series.SeriesInstanceUID = self.uid("series CT")
            series.ContourImageSequence = [
                self.reference(CT_STORAGE, f"ct {i}") for i in range(self.ct_z_mm.size)
            ]
            study = Dataset()
            study.ReferencedSOPClassUID = STUDY_CLASS
            study.ReferencedSOPInstanceUID = self.uid("study")
            study.RTReferencedSeriesSequence = [series]
            frame.RTReferencedStudySequence = [study]
        return frame

    def _roi_item(self, structure: Structure) -> Any:
        item = Dataset()
        item.ROINumber = structure.roi_number
        item.ReferencedFrameOfReferenceUID = self.frame_uid
        item.ROIName = structure.roi_name
        item.ROIGenerationAlgorithm = "AUTOMATIC"
        return item

    def _contour_item(self, structure: Structure) -> Any:
        item = Dataset()
        item.ROIDisplayColor = list(structure.colour or _DEFAULT_COLOUR)
        item.ReferencedROINumber = structure.roi_number
        contours = []
        for plane in structure.planes:
            image = self._image_at(plane.z_mm)
            for points in plane.contours:
                contour = Dataset()
                if image is not None:
                    contour.ContourImageSequence = [self.reference(CT_STORAGE, f"ct {image}")]
                contour.ContourGeometricType = "CLOSED_PLANAR"
                contour.NumberOfContourPoints = len(points)
                contour[CONTOUR_DATA] = contour_data(points, plane.z_mm)
                contours.append(contour)
        if contours:
            item.ContourSequence = contours
        return item

    def _image_at(self, z_mm: float) -> int | None:
        """Index of the CT slice that a contour plane lies in, if any."""
        if self.ct_z_mm.size == 0:
            return None
        index = int(np.argmin(np.abs(self.ct_z_mm - z_mm)))
        steps = np.diff(self.ct_z_mm)
        half = float(np.median(steps)) / 2 if steps.size else 0.5
        return index if abs(self.ct_z_mm[index] - z_mm) <= half + 1e-6 else None

    def write_rtplan(self, path: Path) -> Path:
        """Write the plan."""
        ds = self.start(RTPLAN_STORAGE, "rtplan", "RTPLAN")
        ds.RTPlanLabel = self.label
        ds.RTPlanDate, ds.RTPlanTime = STUDY_DATE, STUDY_TIME
        ds.PlanIntent = "RESEARCH"
        ds.RTPlanGeometry = "PATIENT"
        prescription = self.case.prescription
        if prescription is not None:
            goal = Dataset()
            goal.DoseReferenceNumber = 1
            goal.DoseReferenceUID = self.uid("dose reference")
            targets = [s for s in self.case.structures if s.role in TARGET_ROLES]
            goal.DoseReferenceStructureType = "VOLUME" if targets else "SITE"
            if targets:
                goal.ReferencedROINumber = targets[0].roi_number
            goal.DoseReferenceDescription = "Target"
            goal.DoseReferenceType = "TARGET"
            goal.TargetPrescriptionDose = decimal(prescription.dose_gy)
            ds.DoseReferenceSequence = [goal]
        group = Dataset()
        group.FractionGroupNumber = 1
        group.NumberOfFractionsPlanned = prescription.fractions if prescription else None
        group.NumberOfBeams = 0
        group.NumberOfBrachyApplicationSetups = 0
        ds.FractionGroupSequence = [group]
        ds.ReferencedStructureSetSequence = [self.reference(RTSTRUCT_STORAGE, "rtstruct")]
        ds.ApprovalStatus = "UNAPPROVED"
        return self.save(ds, path)

    def write_rtdose(self, path: Path, bits: int) -> Path:
        """Write the dose."""
        dose = self.case.dose
        assert dose is not None
        grid, values = dose.geometry, dose.values
        if not np.isfinite(values).all() or values.min() < 0:
            raise OutOfRangeError(
                "the dose of a case must be finite and not negative to be written; "
                f"the smallest sample is {np.nanmin(values):g} Gy"
            )
        frames = _Frames.of(values, grid, self.case.patient_position, "dose")
        ds = self.start(RTDOSE_STORAGE, "rtdose", "RTDOSE")
        frames.place(ds)
        ds.SliceThickness = decimal(grid.spacing_mm[2]) if grid.z_mm.size > 1 else None
        ds.NumberOfFrames = grid.z_mm.size
        ds.FrameIncrementPointer = Tag("GridFrameOffsetVector")
        ds.GridFrameOffsetVector = decimals(frames.offsets_mm)
        ds.DoseUnits = "GY"
        ds.DoseType = self.case.dose_type
        ds.DoseSummationType = "PLAN"
        ds.TissueHeterogeneityCorrection = "IMAGE"
        scaling = f"{(float(values.max()) or 1.0) / (2**bits - 1):.9e}"
        # Rounded up in the last digit if need be, so that the largest sample still fits.
        stored = np.minimum(np.rint(frames.samples / float(scaling)), 2**bits - 1)
        ds.DoseGridScaling = scaling
        ds.ReferencedRTPlanSequence = [self.reference(RTPLAN_STORAGE, "rtplan")]
        ds.ReferencedStructureSetSequence = [self.reference(RTSTRUCT_STORAGE, "rtstruct")]
        _set_pixels(ds, stored.astype(f"<u{bits // 8}"), bits_stored=bits)
        return self.save(ds, path)


@dataclass(frozen=True, eq=False)
class _Frames:
    """Samples as they are stored, (frame, row, column), and where they lie in the patient."""

    samples: NDArray[Any]
    cosines: tuple[int, ...]
    corner_mm: FloatArray
    spacing_mm: tuple[float, float]  # between rows, between columns
    offsets_mm: FloatArray

    @classmethod
    def of(
        cls, values: NDArray[Any], grid: GridGeometry, position: str | None, name: str
    ) -> _Frames:
        """Turn samples (z, y, x) to the order of a patient position."""
        cosines = ORIENTATIONS.get(position or "HFS", ORIENTATIONS["HFS"])
        along, down = np.array(cosines[:3]), np.array(cosines[3:])
        directions = (np.cross(along, down), down, along)
        axes = [int(np.argmax(np.abs(d))) for d in directions]
        backwards = [bool(d.sum() < 0) for d in directions]
        turned = values.transpose([2 - axis for axis in axes])
        turned = turned[tuple(slice(None, None, -1 if b else 1) for b in backwards)]
        positions = (grid.x_mm, grid.y_mm, grid.z_mm)
        placed = [positions[a][:: -1 if b else 1] for a, b in zip(axes, backwards, strict=True)]
        corner = np.empty(3)
        for axis, place in zip(axes, placed, strict=True):
            corner[axis] = place[0]
        rows, columns = (_even_step(positions[a], f"{'xyz'[a]} of the {name}") for a in axes[1:])
        offsets = np.abs(placed[0] - placed[0][0])
        return cls(turned, cosines, corner, (rows, columns), offsets)

    def place(self, ds: Any) -> None:
        """Say in a dataset where the first sample is, and how the others follow."""
        ds.ImagePositionPatient = decimals(self.corner_mm)
        ds.ImageOrientationPatient = [str(c) for c in self.cosines]
        ds.PixelSpacing = decimals(list(self.spacing_mm))


def _observation_item(structure: Structure) -> Any:
    item = Dataset()
    item.ObservationNumber = structure.roi_number
    item.ReferencedROINumber = structure.roi_number
    item.RTROIInterpretedType = _INTERPRETED.get(structure.role, "ORGAN")
    item.ROIInterpreter = ""
    return item


def _set_pixels(ds: Any, stored: NDArray[np.unsignedinteger[Any]], *, bits_stored: int) -> None:
    ds.SamplesPerPixel = 1
    ds.PhotometricInterpretation = "MONOCHROME2"
    ds.Rows, ds.Columns = stored.shape[-2:]
    ds.BitsAllocated = 8 * stored.dtype.itemsize
    ds.BitsStored, ds.HighBit = bits_stored, bits_stored - 1
    ds.PixelRepresentation = 0
    data = stored.tobytes()
    ds.add_new(Tag("PixelData"), "OW", data + b"\0" * (len(data) % 2))


def _even_step(axis: FloatArray, name: str) -> float:
    if axis.size == 1:
        return 1.0
    step = float(axis[-1] - axis[0]) / (axis.size - 1)
    worst = float(np.abs(axis - axis[0] - step * np.arange(axis.size)).max())
    if worst > EVEN_TOLERANCE_MM:
        raise GeometryMismatchError(
            f"the axis {name} is uneven by {worst:.3g} mm, and DICOM describes it by one spacing; "
            "resample it first"
        )
    return step


# A sign, nine digits, the point and five more are the 16 characters of a decimal string.
_MOST_MM = 1e9


def contour_data(ring: FloatArray, z_mm: float) -> RawDataElement:
    """Coordinates as bytes: one decimal-string object a number costs seconds."""
    values = np.round(np.c_[ring, np.full(len(ring), z_mm)].ravel(), 5) + 0.0
    text = "\\".join(map(repr, values.tolist())) + "\\"
    if "e" in text or np.abs(values).max() >= _MOST_MM:
        text = "\\".join(decimals(values)) + "\\"
    words = text.replace(".0\\", "\\")[:-1].encode("ascii")
    words += b" " * (len(words) % 2)
    return RawDataElement(CONTOUR_DATA, "DS", len(words), words, 0, True, True)


def decimal(value: float) -> str:
    """A decimal string of at most 16 characters, to 1e-5."""
    text = f"{round(float(value), 5) + 0.0:.5f}".rstrip("0").rstrip(".")
    if len(text) > 16:
        raise OutOfRangeError(f"{value!r} does not fit into a DICOM decimal string")
    return text


def decimals(values: FloatArray | list[float]) -> list[str]:
    """Decimal strings of many values."""
    return [decimal(value) for value in values]
