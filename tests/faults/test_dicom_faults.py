"""What is wrong with DICOM files, and what the reader makes of it: one list each.

Longer than other files on purpose: one list of faults, so that none is tried twice.
"""

from __future__ import annotations

import re

import numpy as np
import pytest
from pydicom.dataelem import DataElement
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    RLELossless,
)
from tests.dicom.builders import ORIENTATIONS

from cordgap.dicom import read_case
from cordgap.dicom.overrides import Overrides
from cordgap.errors import (
    AmbiguousInputError,
    CordgapError,
    DicomError,
    GeometryMismatchError,
)


def codes(case):
    found = [*case.findings, *(f for s in case.structures for f in s.findings)]
    return {finding.code for finding in found}


def change(ds, **values):
    """Set attributes of a data set; None deletes."""
    for keyword, value in values.items():
        if value is None:
            delattr(ds, keyword)
        else:
            setattr(ds, keyword, value)
    return ds


# --- refused doses -------------------------------------------------------------------------------

BAD_DOSES = {
    "relative": ({"DoseUnits": "RELATIVE"}, "found DoseUnits RELATIVE, expected GY"),
    "cgy": ({"DoseUnits": "CGY"}, "found DoseUnits CGY, expected GY"),
    "no units": ({"DoseUnits": None}, "found DoseUnits absent"),
    "error dose": ({"DoseType": "ERROR"}, "found DoseType ERROR"),
    "no scaling": ({"DoseGridScaling": None}, "DoseGridScaling absent"),
    "zero scaling": ({"DoseGridScaling": "0"}, "found DoseGridScaling 0"),
    "negative scaling": ({"DoseGridScaling": "-1e-6"}, "found DoseGridScaling -1e-06"),
    "huge scaling": ({"DoseGridScaling": "1e3"}, r"found a dose of .* Gy, expected less than"),
    "tiny scaling": ({"DoseGridScaling": "1e-15"}, "DoseGridScaling is too small"),
    "cgy in gy": ({"DoseGridScaling": "1e-4"}, r"found a dose of .* Gy"),
    "signed": ({"PixelRepresentation": 1}, "signed pixels"),
    "12 bits": ({"BitsStored": 12}, "found 12 of 32 bits"),
    "no pixels": ({"PixelData": None}, "no PixelData"),
    "truncated pixels": ({"PixelData": b"\1\0" * 500}, "found 1000 bytes, expected 15912"),
    "rows": ({"Rows": 16}, "found 15912 bytes, expected 14976"),
    "no rows": ({"Rows": None}, "found None Rows"),
    "no offsets": ({"GridFrameOffsetVector": None}, "GridFrameOffsetVector is absent"),
    "few offsets": ({"GridFrameOffsetVector": ["0", "3"]}, "found 2 frame offsets for 13"),
    "repeated offset": (
        {"GridFrameOffsetVector": [str(3 * i) for i in range(12)] + ["33"]},
        "not monotonic or repeats",
    ),
    "zigzag": (
        {"GridFrameOffsetVector": [str(i * (-1) ** i) for i in range(13)]},
        "not monotonic",
    ),
    "offsets from nowhere": (
        {"GridFrameOffsetVector": [str(7 + 3 * i) for i in range(13)]},
        "starts at 7, expected 0 or",
    ),
    "no spacing": ({"PixelSpacing": None}, "PixelSpacing is absent"),
    "zero spacing": ({"PixelSpacing": ["0", "2"]}, "two positive numbers"),
    "no position": ({"ImagePositionPatient": None}, "ImagePositionPatient is absent"),
    "skewed": ({"ImageOrientationPatient": ["1", "0", "0", "1", "0", "0"]}, "perpendicular"),
    "control point": ({"DoseSummationType": "CONTROL_POINT"}, "export the PLAN dose"),
}


@pytest.mark.parametrize(("changed", "message"), BAD_DOSES.values(), ids=BAD_DOSES.keys())
def test_bad_dose_is_refused(build, tmp_path, changed, message):
    folder = build.plan_folder(tmp_path, rtdose=change(build.rtdose(), **changed))
    with pytest.raises(CordgapError, match=message) as caught:
        read_case(folder)
    assert "rtdose.dcm" in str(caught.value)
    assert "SECRET" not in str(caught.value)


def test_zero_dose_is_refused(build, tmp_path):
    folder = build.plan_folder(tmp_path, rtdose=build.rtdose(lambda x, y, z: 0.0 * x))
    with pytest.raises(DicomError, match="zero everywhere"):
        read_case(folder)


def test_dose_in_one_frame_is_not_zero(build, tmp_path):
    spot = build.rtdose(lambda x, y, z: 5.0 * (np.abs(z + 15) < 0.1))
    assert read_case(build.plan_folder(tmp_path, rtdose=spot)).dose.values.max() == 5.0


def test_oblique_dose_is_refused(build, tmp_path):
    tilt = np.deg2rad(1.1)
    oblique = (np.cos(tilt), np.sin(tilt), 0, -np.sin(tilt), np.cos(tilt), 0)
    folder = build.plan_folder(tmp_path, rtdose=build.rtdose(orientation=oblique))
    with pytest.raises(GeometryMismatchError, match=r"rtdose.dcm: .*oblique"):
        read_case(folder)


def test_round_off_of_the_orientation_is_forgiven(build, tmp_path):
    ds = change(build.rtdose(), ImageOrientationPatient=["0.9999999", "1e-7", "0", "0", "1", "0"])
    case = read_case(build.plan_folder(tmp_path, rtdose=ds))
    assert "dose-orientation-snapped" not in codes(case)
    ds = change(build.rtdose(), ImageOrientationPatient=["1", "8e-4", "0", "-8e-4", "1", "0"])
    folder = build.plan_folder(tmp_path, rtdose=change(ds, PixelSpacing=["9", "9"]))
    assert "dose-orientation-snapped" in codes(read_case(folder))


@pytest.mark.parametrize("cut", [0.3, 0.6, 0.9, 0.99])
def test_dose_file_cut_short_is_refused(build, tmp_path, cut):
    folder = build.plan_folder(tmp_path)
    whole = (folder / "rtdose.dcm").read_bytes()
    (folder / "rtdose.dcm").write_bytes(whole[: int(cut * len(whole))])
    with pytest.raises(
        DicomError, match=r"rtdose.dcm: the pixel data are truncated.*expected 15912"
    ):
        read_case(folder)


@pytest.mark.parametrize("cut", [200, 300, 500, 700])
def test_dose_cut_inside_its_header_is_refused(build, tmp_path, cut):
    folder = build.plan_folder(tmp_path)
    whole = (folder / "rtdose.dcm").read_bytes()
    (folder / "rtdose.dcm").write_bytes(whole[:cut])
    with pytest.raises(CordgapError):
        read_case(folder)


# --- doses written in unusual but legal ways -----------------------------------------------------

SYNTAXES = {
    "implicit": ImplicitVRLittleEndian,
    "explicit": ExplicitVRLittleEndian,
    "deflated": DeflatedExplicitVRLittleEndian,
    "big endian": ExplicitVRBigEndian,
    "rle": RLELossless,
}


# The standard knows no run-length encoding of 32 bits.
@pytest.mark.parametrize(
    ("syntax", "bits"),
    [(s, b) for s in SYNTAXES.values() for b in (16, 32) if (s, b) != (RLELossless, 32)],
)
def test_transfer_syntaxes_give_the_same_dose(build, tmp_path, syntax, bits):
    folder = build.plan_folder(tmp_path / "plain", rtdose=build.rtdose(bits=bits))
    expected = read_case(folder).dose
    ds = build.rtdose(bits=bits)
    if syntax == ExplicitVRBigEndian:
        ds.PixelData = np.frombuffer(ds.PixelData, f"<u{bits // 8}").byteswap().tobytes()
    if syntax == RLELossless:
        build.save(ds, tmp_path / "scratch")  # sets the file meta information
        ds.compress(RLELossless, generate_instance_uid=False)
    folder = build.plan_folder(tmp_path / "other", rtdose=None)
    build.save(ds, folder / "rtdose.dcm", syntax)
    dose = read_case(folder).dose
    np.testing.assert_array_equal(dose.values, expected.values)
    block = (slice(1, 4), slice(2, 3), slice(5, 9))
    np.testing.assert_array_equal(dose.load(block), expected.values[block])


def test_files_without_preamble_are_read(build, tmp_path):
    expected = read_case(build.plan_folder(tmp_path / "plain")).dose.values
    bare = tmp_path / "bare"
    bare.mkdir()
    for name, ds in (("s", build.rtstruct()), ("d", build.rtdose()), ("p", build.rtplan())):
        build.save(ds, bare / name, bare=True)
    case = read_case(bare)
    np.testing.assert_array_equal(case.dose.values, expected)
    assert case.prescription.dose_gy == 24.0


LOWER, STEP, SIZE = np.array([-20.0, -24.0, -18.0]), np.array([2.5, 3.0, 2.0]), [18, 17, 19]


def oriented(build, orientation, **how):
    """The same samples in space, stored along other directions."""
    along, down = np.array(orientation[:3]), np.array(orientation[3:])
    directions = (np.cross(along, down), down, along)
    axes = [int(np.argmax(np.abs(d))) for d in directions]
    upper = LOWER + STEP * (np.array(SIZE) - 1)
    corner = LOWER.copy()
    for axis, direction in zip(axes, directions, strict=True):
        if direction[axis] < 0:
            corner[axis] = upper[axis]
    return build.rtdose(
        orientation=orientation,
        position=corner,
        spacing=(STEP[axes[1]], STEP[axes[2]]),
        size=[SIZE[a] for a in axes],
        offsets=np.arange(SIZE[axes[0]]) * STEP[axes[0]],
        **how,
    )


@pytest.mark.parametrize("orientation", ORIENTATIONS.values(), ids=ORIENTATIONS.keys())
def test_orientations_give_the_same_dose_in_space(build, tmp_path, orientation):
    folder = build.plan_folder(tmp_path, rtdose=oriented(build, orientation))
    dose = read_case(folder).dose
    z, y, x = np.meshgrid(*dose.geometry.axes, indexing="ij")
    np.testing.assert_allclose(dose.geometry.lower_mm, LOWER)
    assert dose.geometry.shape == tuple(SIZE[::-1])
    # 1e-6 Gy a step: the stored integers are rounded to half a step.
    np.testing.assert_allclose(dose.values, build.field(x, y, z), atol=1e-6)
    block = (slice(1, 4), slice(2, 8), slice(5, 9))
    np.testing.assert_array_equal(dose.load(block), dose.values[block])


OFFSETS = {
    "relative": {"offsets": np.arange(13) * 3.0},
    "absolute": {"offsets": np.arange(13) * 3.0, "absolute": True},
    "decreasing": {"offsets": np.arange(13) * -3.0, "position": (-20.0, -24.0, 18.0)},
    "absolute decreasing": {
        "offsets": np.arange(13) * -3.0,
        "position": (-20.0, -24.0, 18.0),
        "absolute": True,
    },
    "uneven": {"offsets": np.r_[0, 2, 4, 6, 9, 12, 15, 18, 24, 27, 30, 33, 36.0]},
}


@pytest.mark.parametrize("how", OFFSETS.values(), ids=OFFSETS.keys())
def test_offset_vectors(build, tmp_path, how):
    dose = read_case(build.plan_folder(tmp_path, rtdose=build.rtdose(**how))).dose
    assert (dose.geometry.z_mm[0], dose.geometry.z_mm[-1]) == (-18.0, 18.0)
    z, y, x = np.meshgrid(*dose.geometry.axes, indexing="ij")
    np.testing.assert_allclose(dose.values, build.field(x, y, z), atol=1e-6)


def test_single_frame_is_readable(build, tmp_path):
    ds = build.rtdose(size=(1, 17, 18), position=(-20.0, -24.0, 0.0))
    ds.GridFrameOffsetVector = "0"
    dose = read_case(build.plan_folder(tmp_path, rtdose=ds)).dose
    assert dose.geometry.shape == (1, 17, 18)


def test_effective_dose_is_flagged(build, tmp_path):
    ds = change(build.rtdose(), DoseType="EFFECTIVE")
    case = read_case(build.plan_folder(tmp_path, rtdose=ds))
    assert case.dose_type == "EFFECTIVE"
    assert "dose-effective" in codes(case)


def test_fraction_dose_is_taken_as_the_course_with_a_warning(build, tmp_path):
    folder = build.plan_folder(tmp_path / "fraction", rtdose=build.rtdose(kind="FRACTION"))
    case = read_case(folder)
    assert "dose-summation-fraction" in codes(case)
    assert case.dose.values.max() == pytest.approx(
        read_case(build.plan_folder(tmp_path / "plan")).dose.values.max()
    )
    build.save(build.rtplan(groups=2), folder / "rtplan.dcm")
    with pytest.raises(DicomError, match=r"one fraction group and the plan rtplan.dcm has 2"):
        read_case(folder)


# --- refused structure sets ----------------------------------------------------------------------


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRLittleEndian])
@pytest.mark.parametrize("undefined", [False, True])
@pytest.mark.parametrize("cut", [0.2, 0.35, 0.5, 0.66, 0.8, 0.9, 0.97, 0.995])
def test_truncated_structure_set_is_refused(build, tmp_path, syntax, undefined, cut):
    ds = build.rtstruct({"SpinalCord": build.tube(z=range(-30, 31, 3))})
    ds["ROIContourSequence"].is_undefined_length = undefined
    ds["ROIContourSequence"].value[0]["ContourSequence"].is_undefined_length = undefined
    folder = build.plan_folder(tmp_path, rtstruct=None)
    path = build.save(ds, folder / "rtstruct.dcm", syntax)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(cut * len(whole))])
    with pytest.raises(DicomError, match=r"rtstruct.dcm: .*(truncated|damaged)"):
        read_case(folder)


def _number_collision(ds):
    ds.StructureSetROISequence[1].ROINumber = 1


def _odd_data(ds):
    contour = ds.ROIContourSequence[0].ContourSequence[0]
    contour.ContourData = list(contour.ContourData)[:-1]


def _empty_value(ds):
    contour = ds.ROIContourSequence[0].ContourSequence[0]
    contour[0x30060050] = DataElement(0x30060050, "UN", b"1\\\\3")


BAD_STRUCTURES = {
    "no observations": (lambda ds: change(ds, RTROIObservationsSequence=None), "truncated"),
    "no names": (lambda ds: change(ds, StructureSetROISequence=None), "no StructureSetROISequence"),
}


@pytest.mark.parametrize(("spoil", "message"), BAD_STRUCTURES.values(), ids=BAD_STRUCTURES.keys())
def test_bad_structure_set_is_refused(build, tmp_path, spoil, message):
    ds = build.rtstruct()
    spoil(ds)
    folder = build.plan_folder(tmp_path, rtstruct=ds)
    with pytest.raises(DicomError, match=f"rtstruct.dcm: .*{message}"):
        read_case(folder)


def _two_lists(ds):
    ds.ROIContourSequence[1].ReferencedROINumber = 1


def _few_points(ds):
    ds.ROIContourSequence[0].ContourSequence[2].NumberOfContourPoints = 7


# What is damaged in one structure makes that structure unusable, and no other.
BAD_ROIS = {
    "collision": (_number_collision, "roi-number-shared", "stands for 2 structures"),
    "two lists": (_two_lists, "roi-number-shared", "2 lists of contours refer to"),
    "odd": (_odd_data, "contour-damaged", "holds 71 coordinates, expected a multiple of 3"),
    "empty value": (_empty_value, "contour-damaged", "values that are not numbers"),
    "few points": (_few_points, "contour-damaged", "holds 24 points and states 7"),
}


@pytest.mark.parametrize(("spoil", "code", "message"), BAD_ROIS.values(), ids=BAD_ROIS.keys())
def test_a_damaged_structure_is_not_used(build, tmp_path, spoil, code, message):
    contours = {n: build.tube(4.0, centre=(x, 0.0)) for n, x in
                (("SpinalCord", 0.0), ("GTV", 12.0), ("Heart", 20.0))}  # fmt: skip
    ds = build.rtstruct(contours)
    spoil(ds)
    case = read_case(build.plan_folder(tmp_path, rtstruct=ds))
    cord = case.structure("SpinalCord")
    assert cord.status == "unsupported"
    assert message in cord.reason
    assert code in codes(case)
    assert case.structure("Heart").status == "ok"


def test_letters_among_the_points_make_the_structure_unusable(build, tmp_path):
    path = build.plan_folder(tmp_path) / "rtstruct.dcm"
    data = path.read_bytes()
    assert b"6\\0\\-12\\" in data
    path.write_bytes(data.replace(b"6\\0\\-12\\", b"6\\x\\-12\\", 1))
    case = read_case(tmp_path)
    assert "values that are not numbers" in case.structure("SpinalCord").reason
    assert case.structure("GTV").status == "ok"


# --- structure sets that are read with a remark --------------------------------------------------


def test_unknown_representation_of_contours_is_decoded(build, tmp_path):
    ds = build.rtstruct({"SpinalCord": [build.circle(n=3000), build.circle(n=3000, z=3.0)]})
    expected = read_case(build.plan_folder(tmp_path / "plain", rtstruct=ds)).structures[0]
    for contour in ds.ROIContourSequence[0].ContourSequence:
        text = "\\".join(str(v) for v in contour.ContourData).encode()
        contour[0x30060050] = DataElement(0x30060050, "UN", text + b" " * (len(text) % 2))
    folder = build.plan_folder(tmp_path / "un", rtstruct=None)
    path = build.save(ds, folder / "rtstruct.dcm", ExplicitVRLittleEndian)
    assert re.search(rb"\x06\x30\x50\x00UN", path.read_bytes())
    found = read_case(folder).structures[0]
    for a, b in zip(found.planes, expected.planes, strict=True):
        np.testing.assert_array_equal(a.contours[0], b.contours[0])


def test_open_contours_are_left_out_and_counted(build, tmp_path):
    line = build.circle(z=30.0)
    rois = {
        "SpinalCord": [*build.tube(), ("POINT", line[:1]), ("OPEN_PLANAR", line)],
        "Marker": [("POINT", line[:1])],
        "Ring": [("CLOSEDPLANAR_XOR", c) for c in build.tube()],
        "Nothing": [],
    }
    case = read_case(build.plan_folder(tmp_path, rtstruct=build.rtstruct(rois)))
    by_name = {s.roi_name: s for s in case.structures}
    assert by_name["SpinalCord"].z_mm.max() == 12.0
    assert "1 OPEN_PLANAR, 1 POINT" in by_name["SpinalCord"].findings[0].message
    assert [by_name[n].status for n in ("Marker", "Ring", "Nothing")] == ["empty", "ok", "empty"]


@pytest.mark.parametrize("stated", [0, 25, 72])
def test_point_count_that_counts_something_else_is_a_warning(build, tmp_path, stated):
    ds = build.rtstruct()
    ds.ROIContourSequence[0].ContourSequence[2].NumberOfContourPoints = stated
    case = read_case(build.plan_folder(tmp_path, rtstruct=ds))
    assert "contour-point-count" in codes(case)
    assert len(case.structures[0].planes) == 9


def test_equal_names_are_a_warning(build, tmp_path):
    ds = build.rtstruct()
    ds.StructureSetROISequence[1].ROIName = "SPINALCORD"
    case = read_case(build.plan_folder(tmp_path, rtstruct=ds))
    assert "duplicate-roi-name" in codes(case)


def test_one_structure_of_another_image_is_set_aside(build, tmp_path):
    ds = build.rtstruct()
    ds.StructureSetROISequence[1].ReferencedFrameOfReferenceUID = "1.2.3.4"
    case = read_case(build.plan_folder(tmp_path, rtstruct=ds))
    assert [s.status for s in case.structures] == ["ok", "unsupported"]
    assert "structure-other-frame" in codes(case)


# --- what is in the folder -----------------------------------------------------------------------


def test_empty_folder(tmp_path):
    with pytest.raises(DicomError, match="no DICOM RT files, but 0 other DICOM and 0 other files"):
        read_case(tmp_path)


def test_folder_of_text(tmp_path):
    (tmp_path / "a.dcm").write_text("hello")
    with pytest.raises(DicomError, match="0 other DICOM and 1 other files"):
        read_case(tmp_path)


def test_no_folder(tmp_path):
    with pytest.raises(DicomError, match="does not exist"):
        read_case(tmp_path / "SECRET NAME")


def test_a_file_is_not_a_folder(build, tmp_path):
    folder = build.plan_folder(tmp_path)
    with pytest.raises(
        DicomError, match=r"expected the folder of a plan or a ZIP file.*--rtstruct FILE"
    ):
        read_case(folder / "rtstruct.dcm")


def test_structures_without_dose(build, tmp_path):
    folder = build.plan_folder(tmp_path, rtdose=None)
    with pytest.raises(DicomError, match="cordgap separation PATH --rx DOSE --fractions N"):
        read_case(folder)


def test_dose_without_structures(build, tmp_path):
    with pytest.raises(DicomError, match="no RTSTRUCT was found"):
        read_case(build.plan_folder(tmp_path, rtstruct=None))


def test_option_that_names_nothing(build, tmp_path):
    folder = build.plan_folder(tmp_path)
    with pytest.raises(DicomError, match=r"--rtdose x.dcm: no such RTDOSE file; .*rtdose.dcm"):
        read_case(folder, rtdose=["x.dcm"])
    with pytest.raises(DicomError, match="found a file of kind RTPLAN, expected RTDOSE"):
        read_case(folder, rtdose=[folder / "rtplan.dcm"])
    (tmp_path / "x.txt").write_text("x")
    with pytest.raises(DicomError, match=r"x.txt: not a DICOM file"):
        read_case(folder, rtdose=[tmp_path / "x.txt"])


@pytest.mark.parametrize("how", [{}, {"rtstruct": "rtstruct.dcm", "rtdose": "rtdose.dcm"}])
def test_frames_of_reference_differ(build, tmp_path, how):
    folder = build.plan_folder(tmp_path, rtdose=build.rtdose(frame="1.2.3.4"))
    with pytest.raises(GeometryMismatchError, match="frame"):
        read_case(folder, **how)


def test_no_frame_of_reference_is_a_warning(build, tmp_path):
    folder = build.plan_folder(
        tmp_path, rtdose=build.rtdose(frame=None), rtstruct=build.rtstruct(frame=None)
    )
    assert "frame-of-reference-missing" in codes(read_case(folder))


def test_two_patients(build, tmp_path):
    folder = build.plan_folder(tmp_path)
    for index, ds in enumerate(
        (
            build.rtstruct(number=31, frame="1.2.3", patient="OTHER"),
            build.rtdose(number=32, frame="1.2.3", patient="OTHER", plan=None),
        )
    ):
        ds.StudyInstanceUID = "1.2.3.9"
        build.save(ds, folder / f"other{index}.dcm")
    with pytest.raises(DicomError, match="files are of 2 patients") as caught:
        read_case(folder)
    assert "SECRET" not in str(caught.value)
    assert "OTHER" not in str(caught.value)
    assert read_case(folder, rtdose=["rtdose.dcm"]).inputs[0].file == "rtstruct.dcm"


def test_one_patient_under_two_identifiers(build, tmp_path):
    case = read_case(build.plan_folder(tmp_path, rtdose=build.rtdose(patient="NEW-ID")))
    assert "patient-id-differs" in codes(case)
    assert not any("SECRET" in f.message or "NEW" in f.message for f in case.findings)


def test_dangling_references_fall_back_on_the_frame_of_reference(build, tmp_path):
    folder = build.plan_folder(
        tmp_path,
        rtdose=build.rtdose(plan=build.uid(99), struct=build.uid(98)),
        rtplan=build.rtplan(struct=build.uid(98)),
    )
    case = read_case(folder)
    assert {"reference-dangling-rtplan", "reference-dangling-rtstruct"} <= codes(case)


def test_two_structure_sets(build, tmp_path):
    folder = build.plan_folder(tmp_path, rtplan=build.rtplan(struct=None))
    build.save(build.rtstruct(number=41), folder / "second.dcm")
    with pytest.raises(AmbiguousInputError, match=r"2 structure sets fit: .*--rtstruct NAME"):
        read_case(folder)
    assert read_case(folder, rtstruct="second.dcm").inputs[0].file == "second.dcm"


def test_same_object_with_other_content(build, tmp_path):
    folder = build.plan_folder(tmp_path)
    build.save(build.rtdose(lambda x, y, z: 1.0 + 0 * x), folder / "second.dcm")
    with pytest.raises(AmbiguousInputError, match="same SOPInstanceUID"):
        read_case(folder)


BEAMS = {
    "incomplete": ([1], "found beams .1., the plan rtplan.dcm has .1, 2."),
    "twice": ([1, 1, 2], "beam 1 has more than one BEAM dose"),
}


@pytest.mark.parametrize(("beams", "message"), BEAMS.values(), ids=BEAMS.keys())
def test_sum_of_beams_must_be_complete(build, tmp_path, beams, message):
    folder = build.plan_folder(tmp_path, rtdose=None)
    for index, beam in enumerate(beams):
        ds = build.rtdose(number=50 + index, kind="BEAM", beams=[beam])
        build.save(ds, folder / f"beam{index}.dcm")
    with pytest.raises(DicomError, match=message):
        read_case(folder)


def test_beams_without_their_plan(build, tmp_path):
    ds = build.rtdose(kind="BEAM", beams=[1])
    folder = build.plan_folder(tmp_path, rtdose=ds, rtplan=None)
    with pytest.raises(DicomError, match="no RTPLAN that tells whether they are complete"):
        read_case(folder)


def test_beams_on_different_grids_are_added_where_all_are_known(build, tmp_path):
    """A field that is linear along each axis is met exactly by trilinear resampling."""
    folder = build.plan_folder(tmp_path, rtdose=None)
    for beam, spacing, corner in (
        (1, (3.0, 2.5), (-20, -24, -18)),
        (2, (2.0, 2.0), (-15, -14, -17)),
    ):
        ds = build.rtdose(
            number=50 + beam, kind="BEAM", beams=[beam], spacing=spacing, position=corner
        )
        build.save(ds, folder / f"beam{beam}.dcm")
    case = read_case(folder)
    assert "dose-grids-resampled" in codes(case)
    geometry = case.dose.geometry
    assert geometry.spacing_mm == (2.0, 2.0, 3.0)
    np.testing.assert_allclose(geometry.lower_mm, [-15, -14, -17])
    assert (geometry.upper_mm <= [22.5, 24, 18]).all()
    z, y, x = np.meshgrid(*geometry.axes, indexing="ij")
    # 1e-6 Gy a step in each file: half a step each.
    np.testing.assert_allclose(case.dose.values, 2 * build.field(x, y, z), atol=2e-6)
    block = (slice(1, 4), slice(2, 3), slice(5, 9))
    np.testing.assert_array_equal(case.dose.load(block), case.dose.values[block])


def test_doses_of_all_fraction_groups_are_added(build, tmp_path):
    folder = build.plan_folder(tmp_path / "groups", rtdose=None, rtplan=build.rtplan(groups=2))
    for group in (1, 2):
        ds = build.rtdose(number=50 + group, kind="FRACTION", beams=[1])
        ds.ReferencedRTPlanSequence[0].ReferencedFractionGroupSequence[
            0
        ].ReferencedFractionGroupNumber = group
        build.save(ds, folder / f"group{group}.dcm")
    case = read_case(folder)
    assert "dose-summation-fraction" in codes(case)
    alone = read_case(build.plan_folder(tmp_path / "alone")).dose.values
    np.testing.assert_allclose(case.dose.values, 2 * alone, atol=2e-6)
    times = read_case(folder, overrides=Overrides(one_fraction=True))
    assert "dose-multiplied" in codes(times)
    np.testing.assert_allclose(times.dose.values, 4 * alone, atol=4e-6)
    (folder / "group2.dcm").unlink()
    with pytest.raises(DicomError, match=r"one fraction group and the plan rtplan.dcm has 2"):
        read_case(folder)


def test_a_whole_dose_is_not_multiplied(build, tmp_path):
    with pytest.raises(CordgapError, match="is not the dose of a fraction"):
        read_case(build.plan_folder(tmp_path), overrides=Overrides(one_fraction=True))


def test_beams_on_grids_that_do_not_overlap(build, tmp_path):
    folder = build.plan_folder(tmp_path, rtdose=None)
    for beam, corner in ((1, (-20, -24, -18)), (2, (200, -24, -18))):
        ds = build.rtdose(number=50 + beam, kind="BEAM", beams=[beam], position=corner)
        build.save(ds, folder / f"beam{beam}.dcm")
    with pytest.raises(GeometryMismatchError, match="do not overlap"):
        read_case(folder)


def test_plan_doses_chosen_together_are_added_with_a_warning(build, tmp_path):
    folder = build.plan_folder(tmp_path)
    build.save(build.rtdose(number=12, plan=build.uid(13)), folder / "boost.dcm")
    case = read_case(folder, rtdose=["rtdose.dcm", "boost.dcm"])
    assert "dose-plans-summed" in codes(case)
    alone = read_case(folder, rtdose=["boost.dcm"]).dose.values
    np.testing.assert_allclose(case.dose.values, 2 * alone)


@pytest.mark.parametrize("kind", ["rtstruct", "rtdose", "rtplan"])
@pytest.mark.parametrize("seed", range(6))
def test_random_damage_never_escapes_as_another_error(build, tmp_path, kind, seed):
    folder = build.plan_folder(tmp_path)
    path = folder / f"{kind}.dcm"
    rng = np.random.default_rng(seed)
    data = bytearray(path.read_bytes())
    for position in rng.integers(132, len(data), 40):
        data[position] = rng.integers(256)
    path.write_bytes(bytes(data))
    try:
        case = read_case(folder)
        if case.dose is not None:
            _ = case.dose.values
    except CordgapError as error:
        assert "SECRET" not in str(error)
