"""A case written as DICOM: valid, consistent, and the same case when it is read again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest

from cordgap.case.case import Case
from cordgap.case.grid import CtImage, DoseGrid, GridGeometry
from cordgap.dicom.read import read_case
from cordgap.errors import GeometryMismatchError, OptionError, OutOfRangeError
from cordgap.export.plan import ORIENTATIONS, PATIENT_NAME, WrittenPlan, write_plan
from cordgap.phantom import Epidural, Sampling, cord_in_linear_dose, sphere, spine_case

# Type 1 (must be there, with a value) and type 2 (must be there) of the modules of each object,
# PS3.3 A.3, A.18, A.19, A.20; conditional ones only where the condition holds.
PATIENT_STUDY = {
    1: "SOPClassUID SOPInstanceUID Modality StudyInstanceUID SeriesInstanceUID FrameOfReferenceUID",
    2: "PatientName PatientID PatientBirthDate PatientSex StudyDate StudyTime StudyID "
    "AccessionNumber ReferringPhysicianName SeriesNumber Manufacturer OperatorsName "
    "PositionReferenceIndicator InstanceNumber",
}
PIXELS = (
    "SamplesPerPixel PhotometricInterpretation Rows Columns BitsAllocated BitsStored HighBit "
    "PixelRepresentation PixelData ImagePositionPatient ImageOrientationPatient PixelSpacing"
)
NEEDED = {
    "CT": {
        1: PIXELS + " ImageType RescaleIntercept RescaleSlope",
        2: "KVP AcquisitionNumber SliceThickness PatientPosition",
    },
    "RTSTRUCT": {
        1: "StructureSetLabel StructureSetROISequence ROIContourSequence "
        "RTROIObservationsSequence ApprovalStatus",
        2: "StructureSetDate StructureSetTime",
    },
    "RTPLAN": {
        1: "RTPlanLabel RTPlanGeometry ReferencedStructureSetSequence FractionGroupSequence "
        "ApprovalStatus",
        2: "RTPlanDate RTPlanTime",
    },
    "RTDOSE": {
        1: PIXELS + " DoseUnits DoseType DoseSummationType DoseGridScaling NumberOfFrames "
        "FrameIncrementPointer GridFrameOffsetVector ReferencedRTPlanSequence",
        2: "SliceThickness",
    },
}


@pytest.fixture(scope="module")
def ring() -> Case:
    return spine_case(epidural=Epidural("circumferential", 1.0))


@pytest.fixture(scope="module")
def written(ring: Case, tmp_path_factory: pytest.TempPathFactory) -> WrittenPlan:
    return write_plan(ring, tmp_path_factory.mktemp("ring"))


def dcm(path: Path | None) -> pydicom.Dataset:
    assert path is not None
    return pydicom.dcmread(path)


def test_every_object_has_its_type_1_and_2_elements(written):
    kinds = set()
    for file in written.files:
        ds = dcm(file)
        kinds.add(ds.Modality)
        for table in (PATIENT_STUDY, NEEDED[ds.Modality]):
            for keyword in table[1].split():
                assert keyword in ds, (file.name, keyword)
                assert ds[keyword].value not in (None, ""), (file.name, keyword)
            for keyword in table[2].split():
                assert keyword in ds, (file.name, keyword)
        assert ds.file_meta.MediaStorageSOPInstanceUID == ds.SOPInstanceUID
        assert ds.PatientName == PATIENT_NAME
    assert kinds == set(NEEDED)


def test_decimal_strings_and_uids_are_valid(written):
    def walk(ds: pydicom.Dataset) -> None:
        for element in ds:
            if element.VR == "SQ":
                for item in element.value:
                    walk(item)
            elif element.VR == "DS":
                many = element.value if element.VM > 1 else [element.value]
                assert all(len(str(v.original_string)) <= 16 for v in many if v is not None)
            elif element.VR == "UI" and element.VM == 1:
                assert pydicom.uid.UID(element.value).is_valid

    for file in (*written.images[:2], written.rtstruct, written.rtplan, written.rtdose):
        walk(dcm(file))


def test_references_are_consistent(written):
    rs, rp, rd = dcm(written.rtstruct), dcm(written.rtplan), dcm(written.rtdose)
    images = [dcm(file) for file in written.images]
    everything = [rs, rp, rd, *images]
    assert len({ds.StudyInstanceUID for ds in everything}) == 1
    assert len({ds.FrameOfReferenceUID for ds in everything}) == 1
    assert len({ds.SOPInstanceUID for ds in everything}) == len(everything)
    assert len({ds.SeriesInstanceUID for ds in everything}) == 4
    assert rd.ReferencedRTPlanSequence[0].ReferencedSOPInstanceUID == rp.SOPInstanceUID
    assert rp.ReferencedStructureSetSequence[0].ReferencedSOPInstanceUID == rs.SOPInstanceUID
    assert rd.ReferencedStructureSetSequence[0].ReferencedSOPInstanceUID == rs.SOPInstanceUID
    frame = rs.ReferencedFrameOfReferenceSequence[0]
    assert frame.FrameOfReferenceUID == rs.FrameOfReferenceUID
    series = frame.RTReferencedStudySequence[0].RTReferencedSeriesSequence[0]
    assert series.SeriesInstanceUID == images[0].SeriesInstanceUID
    assert {i.ReferencedSOPInstanceUID for i in series.ContourImageSequence} == {
        ds.SOPInstanceUID for ds in images
    }
    height = {ds.SOPInstanceUID: float(ds.ImagePositionPatient[2]) for ds in images}
    for roi in rs.ROIContourSequence:
        for contour in roi.ContourSequence:
            image = contour.ContourImageSequence[0].ReferencedSOPInstanceUID
            assert height[image] == pytest.approx(float(contour.ContourData[2]), abs=1e-3)
    numbers = [r.ROINumber for r in rs.StructureSetROISequence]
    assert numbers == [r.ReferencedROINumber for r in rs.ROIContourSequence]
    assert numbers == [r.ReferencedROINumber for r in rs.RTROIObservationsSequence]


def test_prescription_is_in_the_plan(ring, written):
    rp = dcm(written.rtplan)
    assert rp.DoseReferenceSequence[0].TargetPrescriptionDose == ring.prescription.dose_gy
    assert rp.DoseReferenceSequence[0].ReferencedROINumber == 1
    assert rp.FractionGroupSequence[0].NumberOfFractionsPlanned == ring.prescription.fractions


def test_contours_survive(ring, written):
    rs = dcm(written.rtstruct)
    for structure, roi in zip(ring.structures, rs.ROIContourSequence, strict=True):
        flat = [c for plane in structure.planes for c in plane.contours]
        assert len(flat) == len(roi.ContourSequence)
        for points, contour in zip(flat, roi.ContourSequence, strict=True):
            assert contour.NumberOfContourPoints == len(points)
            stored = np.array(contour.ContourData, float).reshape(-1, 3)
            assert np.abs(stored[:, :2] - points).max() < 1e-5  # written to 1e-5 mm


@pytest.mark.parametrize("bits", [16, 32])
@pytest.mark.parametrize("deflated", [False, True])
def test_dose_survives(ring, tmp_path, bits, deflated):
    small = replace(ring, image=None)
    rd = dcm(write_plan(small, tmp_path, deflated=deflated, dose_bits=bits).rtdose)
    assert rd.file_meta.TransferSyntaxUID.is_deflated == deflated
    dose_gy = rd.pixel_array * float(rd.DoseGridScaling)
    largest = ring.dose.values.max()
    # Half a step of the samples, and ten digits of the scaling.
    tolerance = largest / 2 ** (bits + 1) + 1e-9 * largest
    assert np.abs(dose_gy - ring.dose.values).max() <= tolerance * 1.01
    assert rd.BitsStored == bits and rd.DoseUnits == "GY" and rd.DoseSummationType == "PLAN"


def test_image_survives(ring, written):
    for index in (0, len(written.images) // 2):
        ds = dcm(written.images[index])
        hu = ds.pixel_array * float(ds.RescaleSlope) + float(ds.RescaleIntercept)
        assert np.array_equal(hu, ring.image.values[index])


def test_row_spacing_comes_first(tmp_path):
    case = cord_in_linear_dose()
    grid = case.dose.geometry
    stretched = GridGeometry(grid.x_mm, grid.y_mm[0] + 2 * (grid.y_mm - grid.y_mm[0]), grid.z_mm)
    odd = replace(case, dose=DoseGrid(stretched, case.dose.load))
    rd = dcm(write_plan(odd, tmp_path).rtdose)
    assert [float(v) for v in rd.PixelSpacing] == pytest.approx([3.0, 1.5])


def test_uneven_planes_are_written_as_offsets(tmp_path):
    case = cord_in_linear_dose()
    grid = case.dose.geometry
    z = grid.z_mm + np.where(np.arange(grid.z_mm.size) > 5, 0.5, 0.0)
    odd = replace(case, dose=DoseGrid(GridGeometry(grid.x_mm, grid.y_mm, z), case.dose.load))
    rd = dcm(write_plan(odd, tmp_path).rtdose)
    assert np.allclose(np.array(rd.GridFrameOffsetVector, float), z - z[0], atol=1e-5)


@pytest.mark.parametrize("deflated", [False, True])
def test_round_trip_through_the_reader(ring, tmp_path, deflated):
    write_plan(ring, tmp_path, deflated=deflated)
    again = read_case(tmp_path)
    assert [s.roi_name for s in again.structures] == [s.roi_name for s in ring.structures]
    assert [s.role for s in again.structures] == [s.role for s in ring.structures]
    for a, b in zip(again.structures, ring.structures, strict=True):
        assert a.status == "ok" and a.colour == b.colour
        assert np.allclose(a.z_mm, b.z_mm, atol=1e-5)
        for p, q in zip(a.planes, b.planes, strict=True):
            assert len(p.contours) == len(q.contours)
            assert all(
                np.allclose(c, d, atol=1e-5) for c, d in zip(p.contours, q.contours, strict=True)
            )
    assert again.dose is not None and again.image is not None
    assert again.dose.geometry.same_positions(ring.dose.geometry, 1e-4)
    assert np.allclose(again.dose.values, ring.dose.values, atol=1e-6)
    assert again.image.geometry.same_positions(ring.image.geometry, 1e-4)
    assert np.array_equal(again.image.values, ring.image.values)
    assert again.prescription is not None
    assert again.prescription.dose_gy == ring.prescription.dose_gy
    assert again.prescription.fractions == ring.prescription.fractions
    assert again.frame_of_reference_uid == ring.frame_of_reference_uid
    assert again.patient_position == "HFS" and again.dose_type == "PHYSICAL"
    assert not [f for f in again.findings if f.severity != "info"]


def test_only_what_is_there_is_written(tmp_path):
    case = sphere()
    with_dose = write_plan(replace(case, prescription=None), tmp_path / "a")
    assert with_dose.images == () and with_dose.rtplan is not None
    assert "DoseReferenceSequence" not in dcm(with_dose.rtplan)
    contours = write_plan(replace(case, prescription=None, dose=None), tmp_path / "b")
    assert contours.files == (contours.rtstruct,)
    assert (
        "RTReferencedStudySequence"
        not in dcm(contours.rtstruct).ReferencedFrameOfReferenceSequence[0]
    )


def test_the_same_case_gives_the_same_bytes_and_another_one_other_uids(tmp_path):
    case = cord_in_linear_dose()
    first, second = write_plan(case, tmp_path / "a"), write_plan(case, tmp_path / "b")
    for a, b in zip(first.files, second.files, strict=True):
        assert a.read_bytes() == b.read_bytes()
    finer = cord_in_linear_dose(sampling=Sampling(vertices=91))
    other = write_plan(finer, tmp_path / "c")
    ours, theirs = dcm(first.rtstruct), dcm(other.rtstruct)
    assert ours.SOPInstanceUID != theirs.SOPInstanceUID
    assert ours.StudyInstanceUID != theirs.StudyInstanceUID


def test_identity_is_never_written(tmp_path):
    case = replace(sphere(), identity={"patient_name": "SECRET^NAME", "patient_id": "S3CRET"})
    for file in write_plan(case, tmp_path).files:
        content = file.read_bytes()
        assert b"SECRET" not in content and b"S3CRET" not in content


def test_a_structure_without_contours_is_listed(tmp_path):
    case = sphere()
    empty = replace(case.structures[0], roi_number=9, roi_name="Empty", planes=(), status="empty")
    rs = dcm(write_plan(replace(case, structures=(*case.structures, empty)), tmp_path).rtstruct)
    assert rs.StructureSetROISequence[1].ROIName == "Empty"
    assert "ContourSequence" not in rs.ROIContourSequence[1]


def test_a_negative_dose_is_refused(tmp_path):
    case = sphere()
    wrong = replace(case, dose=DoseGrid(case.dose.geometry, lambda s: case.dose.load(s) - 99))
    with pytest.raises(OutOfRangeError, match="finite and not negative"):
        write_plan(wrong, tmp_path)


def test_an_uneven_row_spacing_is_refused(tmp_path):
    case = sphere()
    grid = case.dose.geometry
    uneven = GridGeometry(grid.x_mm, grid.y_mm + 1e-3 * np.arange(grid.y_mm.size) ** 2, grid.z_mm)
    with pytest.raises(GeometryMismatchError, match="axis y of the dose is uneven"):
        write_plan(replace(case, dose=DoseGrid(uneven, case.dose.load)), tmp_path)


def test_wrong_options_are_refused(tmp_path):
    with pytest.raises(OptionError, match="at most 16 characters"):
        write_plan(sphere(), tmp_path, label="a label that is too long")
    with pytest.raises(OptionError, match="16 or 32 bits"):
        write_plan(sphere(), tmp_path, dose_bits=8)  # type: ignore[arg-type]


@pytest.mark.parametrize("position", ORIENTATIONS)
def test_samples_lie_where_the_file_says_in_every_position(tmp_path, position):
    """By the equation of DICOM PS3.3 C.7.6.2.1.1, sample for sample, without our reader."""
    case = replace(spine_case(image=False), patient_position=position)
    axes = (np.arange(3.0), 10 + 2 * np.arange(4.0), -7 + 3 * np.arange(5.0))
    geometry = GridGeometry(*axes)
    z, y, x = np.meshgrid(*geometry.axes, indexing="ij")
    dose = DoseGrid.from_array(geometry, 50 + x + 0.1 * y + 0.01 * z)
    image = CtImage.from_array(geometry, np.rint(100 * x + 10 * y + z))
    written = write_plan(replace(case, dose=dose, image=image), tmp_path)
    frames = [(pydicom.dcmread(written.rtdose), dose.values)]
    for path, values in zip(written.images, image.values, strict=True):
        frames.append((pydicom.dcmread(path), values[None]))
    for ds, values in frames:
        along, down = np.reshape(np.array(ds.ImageOrientationPatient, float), (2, 3))
        np.testing.assert_array_equal([*along, *down], ORIENTATIONS[position])
        if ds.Modality == "CT":
            assert ds.PatientPosition == position
        offsets = np.array(ds.get("GridFrameOffsetVector", [0.0]), float)
        slope = float(ds.get("DoseGridScaling", 0) or ds.RescaleSlope)
        kind = np.dtype(f"<u{ds.BitsAllocated // 8}")
        stored = np.frombuffer(ds.PixelData, kind, offsets.size * ds.Rows * ds.Columns)
        stored = stored.reshape(offsets.size, ds.Rows, ds.Columns) * slope
        stored = stored + float(ds.get("RescaleIntercept", 0))
        step_down, step_along = (float(v) for v in ds.PixelSpacing)
        for f, r, c in np.ndindex(stored.shape):
            point = np.array(ds.ImagePositionPatient, float) + offsets[f] * np.cross(along, down)
            point = point + r * step_down * down + c * step_along * along
            px, py, pz = point
            at_z = 0 if ds.Modality == "CT" else int(np.argmin(np.abs(geometry.z_mm - pz)))
            here = values[
                at_z,
                int(np.argmin(np.abs(geometry.y_mm - py))),
                int(np.argmin(np.abs(geometry.x_mm - px))),
            ]
            assert stored[f, r, c] == pytest.approx(here, abs=1e-6)
            assert np.abs(geometry.y_mm - py).min() < 1e-9 > np.abs(geometry.x_mm - px).min()


def test_hfs_files_do_not_depend_on_the_word_for_the_position(tmp_path):
    case = spine_case(image=False)
    one = write_plan(replace(case, patient_position=None), tmp_path / "one")
    two = write_plan(case, tmp_path / "two")
    assert [p.read_bytes() for p in one.files] == [p.read_bytes() for p in two.files]
