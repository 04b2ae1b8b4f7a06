"""What the reader does not take, in its words: one list more, of what is rarely seen."""

from __future__ import annotations

import struct
import zipfile

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, RLELossless

import cordgap.dicom.archive as archive
from cordgap.dicom import contours, dataset, pixels, read_case
from cordgap.dicom.as_written import absolute_offset_mm, contours_as_written
from cordgap.dicom.geometry import frame_stack
from cordgap.dicom.overrides import Overrides
from cordgap.dicom.plan import read_labels
from cordgap.errors import (
    AmbiguousInputError,
    CordgapError,
    DicomError,
    GeometryMismatchError,
    OptionError,
)


def codes(case):
    found = [*case.findings, *(f for s in case.structures for f in s.findings)]
    return {finding.code for finding in found}


def refused(folder, match, code=None, error=CordgapError, **how):
    with pytest.raises(error, match=match) as caught:
        read_case(folder, **how)
    if code is not None:
        assert caught.value.code == code


# --- the dose ---


def _set(**values):
    def spoil(ds):
        for keyword, value in values.items():
            setattr(ds, keyword, value)

    return spoil


DOSES = {
    "orientation of five": (_set(ImageOrientationPatient=["1", "0", "0", "0", "1"]),
                            "expected six numbers", "dose-geometry"),
    "position of two": (_set(ImagePositionPatient=["1", "0"]),
                        "expected three numbers", "dose-geometry"),
    "frames far apart": (_set(GridFrameOffsetVector=[str(300 * i) for i in range(13)]),
                         "mm apart, expected at most", None),
    "no frames": (_set(NumberOfFrames=0), "NumberOfFrames 0, expected at least 1",
                  "dose-frame-offsets"),
}  # fmt: skip


@pytest.mark.parametrize(("spoil", "match", "code"), DOSES.values(), ids=DOSES.keys())
def test_a_dose_that_lies_nowhere(build, tmp_path, spoil, match, code):
    ds = build.rtdose()
    spoil(ds)
    refused(build.plan_folder(tmp_path, rtdose=ds), match, code)


def test_frame_offsets_that_are_no_numbers(build, tmp_path):
    folder = build.plan_folder(tmp_path)
    path = folder / "rtdose.dcm"
    for text in (b"nan", b"x.y"):
        data = (folder / "rtdose.dcm").read_bytes()
        offsets = data.index(b"0\\3\\6\\9")
        path.write_bytes(data[:offsets] + text + data[offsets + 3 :])
        refused(folder, "GridFrameOffsetVector", "dose-frame-offsets", DicomError)
        path.write_bytes(data)


def test_a_scaling_that_is_no_number(build, tmp_path):
    folder = build.plan_folder(tmp_path)
    path = folder / "rtdose.dcm"
    data = path.read_bytes()
    assert data.count(b"1e-06 ") == 1
    path.write_bytes(data.replace(b"1e-06 ", b"1e-xy "))
    refused(folder, "found DoseGridScaling nan, expected a positive number", "dose-scaling")


def test_a_dose_in_gy_needs_no_meaning_of_percent(build, tmp_path):
    refused(
        build.plan_folder(tmp_path), r"--relative-dose-gy: rtdose.dcm is in Gy already",
        error=OptionError, overrides=Overrides(relative_dose_gy=20.0),
    )  # fmt: skip


def test_doses_of_two_types_are_not_added(build, tmp_path):
    folder = build.plan_folder(tmp_path)
    other = build.rtdose(number=12)
    other.DoseType = "EFFECTIVE"
    build.save(other, folder / "other.dcm")
    refused(folder, "EFFECTIVE and some", rtdose=["rtdose.dcm", "other.dcm"])


def test_pixels_that_end_between_two_elements(build, tmp_path):
    """Something lies behind the pixels that is no element: the numbers are kept, and it is said."""
    folder = build.plan_folder(tmp_path)
    path = folder / "rtdose.dcm"
    whole = read_case(folder).dose.values
    path.write_bytes(path.read_bytes() + struct.pack("<HHI", 0x0008, 0x0060, 2) + b"CT")
    case = read_case(folder)
    assert "dose-file-end" in codes(case)
    np.testing.assert_array_equal(case.dose.values, whole)
    assert "dose-file-end" not in codes(read_case(build.plan_folder(tmp_path / "as it was")))


def compressed(build, **how):
    ds = build.rtdose(bits=16, **how)
    build_meta = Dataset()
    build_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.file_meta = build_meta
    ds.compress(RLELossless)
    return ds


def test_compressed_pixels_that_cannot_be_decoded(build, tmp_path):
    folder = build.plan_folder(tmp_path, rtdose=None)
    path = build.save(compressed(build), folder / "rtdose.dcm", RLELossless)
    assert read_case(folder).dose.values.max() > 20
    data = bytearray(path.read_bytes())
    # The header of a frame: two segments, a byte of each sample, the first 64 bytes behind it.
    at = data.index(struct.pack("<II", 2, 64))
    data[at : at + 4] = struct.pack("<I", 9)
    path.write_bytes(bytes(data))
    refused(folder, "rtdose.dcm: .*cannot be decoded")


def test_compressed_pixels_cannot_hold_what_the_grid_needs(build, tmp_path, monkeypatch):
    folder = build.plan_folder(tmp_path, rtdose=None)
    build.save(compressed(build), folder / "rtdose.dcm", RLELossless)
    monkeypatch.setattr(pixels, "_MAX_COMPRESSION", 0.1)
    refused(folder, "the compressed pixels cannot hold the 7956 bytes")


def test_a_dose_that_changes_while_it_is_read(build, tmp_path):
    folder = build.plan_folder(tmp_path)
    case = read_case(folder)
    path = folder / "rtdose.dcm"
    path.write_bytes(path.read_bytes()[:-4000])
    with pytest.raises(DicomError, match="the file changed while it was read"):
        _ = case.dose.values


def test_a_position_is_three_numbers_and_a_direction_six():
    spacing, size, offsets = (1.0, 1.0), (4, 4), np.arange(3.0)
    with pytest.raises(DicomError, match="expected six numbers"):
        frame_stack((1, 0, 0, 0, float("nan"), 0), (0, 0, 0), spacing, size, offsets)
    with pytest.raises(DicomError, match="expected three numbers"):
        frame_stack((1, 0, 0, 0, 1, 0), (0, float("inf"), 0), spacing, size, offsets)


# --- totals ---


def put(build, folder, **kinds):
    for number, (name, (kind, beams)) in enumerate(kinds.items(), start=50):
        build.save(build.rtdose(number=number, kind=kind, beams=beams), folder / f"{name}.dcm")
    return sorted(f"{name}.dcm" for name in kinds)


TOTALS = {
    "beams and a plan": ({"a": ("BEAM", [1]), "b": ("PLAN", [])},
                         "BEAM doses cannot be added to other doses", "dose-kinds-mixed"),
    "control point": ({"a": ("CONTROL_POINT", [])},
                      "no RTDOSE that stands for a whole plan", "dose-not-total"),
    "beams that do not say which": ({"a": ("BEAM", []), "b": ("BEAM", [])},
                                    "without ReferencedBeamNumber", "dose-beams-unknown"),
    "beams that the plan has not": ({"a": ("BEAM", [1]), "b": ("BEAM", [2]), "c": ("BEAM", [7])},
                                    r"BEAM doses of beams \[7\] are not beams of the plan",
                                    "dose-beams-unknown"),
    "two of the same group": ({"a": ("FRACTION", [1]), "b": ("FRACTION", [2])},
                              r"several FRACTION doses .* fraction groups \[1, 1\], the plan has",
                              "dose-groups-incomplete"),
}  # fmt: skip


@pytest.mark.parametrize(("kinds", "match", "code"), TOTALS.values(), ids=TOTALS.keys())
def test_doses_that_make_no_total(build, tmp_path, kinds, match, code):
    folder = build.plan_folder(tmp_path, rtdose=None)
    refused(folder, match, code, rtdose=put(build, folder, **kinds))


def test_the_same_dose_twice(build, tmp_path):
    refused(build.plan_folder(tmp_path), "the same dose was chosen twice", "dose-chosen-twice",
            rtdose=["rtdose.dcm", "rtdose.dcm"])  # fmt: skip


def test_no_dose_of_the_plan_that_was_chosen(build, tmp_path):
    folder = build.plan_folder(tmp_path)
    build.save(build.rtplan(number=30), folder / "other.dcm")
    refused(folder, "no RTDOSE refers to the plan other.dcm", "rtdose-missing", rtplan="other.dcm")


def test_one_fraction_of_how_many(build, tmp_path):
    folder = build.plan_folder(tmp_path, rtplan=None, rtdose=build.rtdose(kind="FRACTION"))
    refused(folder, "the number of fractions of rtdose.dcm is not known", error=OptionError,
            overrides=Overrides(one_fraction=True))  # fmt: skip
    alone = read_case(folder).dose.values
    times = read_case(folder, overrides=Overrides(one_fraction=True, fractions=3))
    np.testing.assert_allclose(times.dose.values, 3 * alone)


# --- which files belong together ---


def test_a_name_that_fits_two_files(build, tmp_path):
    folder = build.plan_folder(tmp_path)
    for name in ("a", "b"):
        (folder / name).mkdir()
        build.save(build.rtstruct(number=f"1{name == 'a':d}"), folder / name / "s.dcm")
    refused(folder, "--rtstruct s.dcm fits 2 files", error=AmbiguousInputError, rtstruct="s.dcm")


def test_a_plan_chosen_for_the_dose_of_another(build, tmp_path):
    folder = build.plan_folder(tmp_path)
    build.save(build.rtplan(number=30), folder / "other.dcm")
    case = read_case(folder, rtdose=["rtdose.dcm"], rtplan="other.dcm")
    (note,) = [f for f in case.findings if f.code == "reference-other-rtplan"]
    assert "the dose was computed for another plan than other.dcm" in note.message
    assert note.severity == "warning"


def test_two_plans_and_a_dose_that_names_none(build, tmp_path):
    folder = build.plan_folder(tmp_path, rtdose=build.rtdose(plan=None))
    build.save(build.rtplan(number=30), folder / "other.dcm")
    case = read_case(folder)
    assert case.prescription is None
    assert any("which of 2 RTPLAN the dose belongs to" in f.message for f in case.findings)


def test_contours_of_no_frame_that_the_dose_has(build, tmp_path):
    folder = build.plan_folder(
        tmp_path, rtplan=None, rtdose=build.rtdose(plan=None, frame=build.uid("7.1"))
    )
    refused(folder, "no structure set shares the frame of reference",
            error=GeometryMismatchError)  # fmt: skip
    case = read_case(folder, overrides=Overrides(ignore_frame_of_reference=True))
    assert "frame-of-reference-overridden" in codes(case)


def test_contours_alone(build, tmp_path):
    folder = build.plan_folder(tmp_path, rtplan=None, rtdose=None)
    case = read_case(folder, need_dose=False)
    assert case.dose is None
    assert [s.roi_name for s in case.structures] == ["SpinalCord", "GTV"]


# --- the structure set ---


@pytest.mark.parametrize(
    ("limit", "value", "words"),
    [
        ("MAX_POINTS", 20, "contour 1 has 24 points, expected at most 20"),
        ("MAX_CONTOURS", 5, "9 contours, expected at most 5"),
    ],
)
def test_more_contours_or_points_than_anyone_draws(
    build, tmp_path, monkeypatch, limit, value, words
):
    monkeypatch.setattr(contours, limit, value)
    cord = read_case(build.plan_folder(tmp_path)).structure("SpinalCord")
    assert cord.status != "ok" and not cord.planes
    assert words in cord.reason


def test_a_contour_without_points(build, tmp_path):
    ds = build.rtstruct()
    roi = ds.ROIContourSequence[0]
    del roi.ContourSequence[3].ContourData
    assert contours.read_contours(roi).damage == ("contour 4 holds no points",)
    case = read_case(build.plan_folder(tmp_path, rtstruct=ds))
    cord = case.structure("SpinalCord")
    assert cord.status != "ok"
    assert "8 contours are written and 9 can be read" in cord.reason
    assert case.structure("GTV").status == "ok"


@pytest.mark.parametrize("colour", [b"300\\0\\0", b"1\\2 ", b"xx\\10\\0", b""])
def test_a_colour_that_is_none_is_left_out(build, tmp_path, colour):
    folder = build.plan_folder(tmp_path)
    path = folder / "rtstruct.dcm"
    data = path.read_bytes()
    written = struct.pack("<HHI", 0x3006, 0x002A, 8) + b"255\\10\\0"
    assert data.count(written) == 1, "the colour of the first structure"
    spoilt = struct.pack("<HHI", 0x3006, 0x002A, 8) + colour.ljust(8)
    path.write_bytes(data.replace(written, spoilt))
    case = read_case(folder)
    assert case.structure("SpinalCord").colour is None
    assert case.structure("GTV").colour == (255, 20, 0)


# --- the plan ---


def test_only_targets_prescribe(build, tmp_path):
    ds = build.rtplan((("SITE", 24.0), ("SITE", 0.0), ("SITE", 9.0)))
    ds.DoseReferenceSequence[2].DoseReferenceType = "ORGAN_AT_RISK"
    assert read_case(build.plan_folder(tmp_path, rtplan=ds)).prescription.dose_gy == 24.0


def test_a_prescription_in_letters(build, tmp_path):
    folder = build.plan_folder(tmp_path, rtplan=build.rtplan((("SITE", 24.25),)))
    path = folder / "rtplan.dcm"
    data = path.read_bytes()
    assert data.count(b"24.25 ") == 1
    path.write_bytes(data.replace(b"24.25 ", b"24,xx "))
    refused(folder, "TargetPrescriptionDose", "rtplan-number")


def test_labels_of_a_plan(build, tmp_path):
    ds = build.rtplan()
    ds.OperatorsName, ds.RTPlanDate = "Curie", "20260131"
    for beam in ds.BeamSequence:
        beam.TreatmentMachineName = "LINAC1"
    labels = read_labels(build.save(ds, tmp_path / "p.dcm"))
    assert (labels.machine, labels.planner) == ("LINAC1", "Curie")
    ds.BeamSequence[1].TreatmentMachineName = "LINAC2"
    assert read_labels(build.save(ds, tmp_path / "q.dcm")).machine == ""


# --- bytes ---


def test_contours_as_they_are_written(build, tmp_path):
    """Points, open lines and a contour drawn twice stay; other structures are not looked at."""
    line = build.circle(5.0, 3.0)[:2]
    rois = {"A": [build.circle(4.0, 0.0)], "B": [build.circle(5.0), build.circle(5.0), line]}
    path = build.save(build.rtstruct(rois), tmp_path / "s.dcm")
    found = contours_as_written(path, 2)
    assert [len(c) for c in found] == [24, 24, 2]
    np.testing.assert_allclose(found[2], line, atol=1e-9)
    assert contours_as_written(path, 9) == ()
    ds = dcmread(path)
    ds.ROIContourSequence[1].ContourSequence[0].ContourData = ["1", "2", "3", "4"]
    ds.save_as(path)
    with pytest.raises(DicomError, match="ROI 2 holds 4 coordinates, expected triplets"):
        contours_as_written(path, 2)


@pytest.mark.parametrize(("absolute", "expected"), [(False, 0.0), (True, -18.0)])
def test_by_how_much_absolute_offsets_move_frames(build, tmp_path, absolute, expected):
    path = build.save(build.rtdose(absolute=absolute), tmp_path / "d.dcm")
    assert absolute_offset_mm(path) == expected


@pytest.mark.parametrize("error", [EOFError("x"), NotImplementedError("y"), OSError(5, "z")])
def test_a_zip_file_that_cannot_be_unpacked(build, tmp_path, monkeypatch, error):
    folder = build.plan_folder(tmp_path / "plan")
    path = tmp_path / "export.zip"
    with zipfile.ZipFile(path, "w") as target:
        target.write(folder / "rtdose.dcm", "rtdose.dcm")

    def fail(*args, **kwargs):
        raise error

    monkeypatch.setattr(archive.zipfile.ZipFile, "open", fail)
    with pytest.raises(DicomError, match=r"cannot be unpacked|unpack it"):
        read_case(path)


def test_a_text_longer_than_any_text(build, tmp_path, monkeypatch):
    monkeypatch.setattr(dataset, "MAX_TEXT_BYTES", 4)
    refused(build.plan_folder(tmp_path), "is longer than any text; the file is damaged")


def test_more_items_than_any_plan_has(build, tmp_path, monkeypatch):
    some = {tag: (what, 1) for tag, (what, _) in dataset._CROWDS.items()}
    monkeypatch.setattr(dataset, "_CROWDS", some)
    refused(build.plan_folder(tmp_path), "expected at most 1; export the")


def test_a_path_that_is_not_there(build, tmp_path):
    folder = build.plan_folder(tmp_path)
    gone = tmp_path / "gone" / "rtstruct.dcm"
    refused(folder, "rtstruct.dcm", error=DicomError, rtstruct=str(gone))
    with pytest.raises(DicomError, match="there is no such file") as caught:
        absolute_offset_mm(gone)
    assert caught.value.code == "file-missing"


def test_a_picture_given_as_a_dose(build, tmp_path):
    folder = build.plan_folder(tmp_path)
    ds = build.ct_slice(0.0, number=50)
    ds.SOPClassUID = "1.2.840.10008.5.1.4.1.1.7"
    path = build.save(ds, tmp_path / "capture.dcm")
    refused(folder, "a DICOM file of a kind that is not used here", rtdose=[str(path)])


# --- the image ---


def with_image(build, folder, spoil):
    folder = build.plan_folder(folder)
    for index in range(4):
        ds = build.ct_slice(3.0 * index, number=f"40{index}")
        if index == 2:
            spoil(ds)
        build.save(ds, folder / f"ct{index}.dcm")
    return folder


IMAGES = {
    "other size": (_set(Rows=8), "differ in size or direction"),
    "other direction": (_set(ImageOrientationPatient=["0", "1", "0", "1", "0", "0"]),
                        "differ in size or direction"),
    "shifted": (_set(ImagePositionPatient=["-10", "-16", "6"]), "shifted against each other"),
    "same place": (_set(ImagePositionPatient=["-16", "-16", "3"]), "the same position"),
    "two series": (_set(SeriesInstanceUID="1.2.3.4"), "2 CT series are there"),
}  # fmt: skip


@pytest.mark.parametrize(("spoil", "match"), IMAGES.values(), ids=IMAGES.keys())
def test_an_image_that_does_not_fit_is_left_out_with_a_reason(build, tmp_path, spoil, match):
    case = read_case(with_image(build, tmp_path, spoil))
    assert case.image is None
    assert any(match in f.message for f in case.findings)


def test_an_image_that_fits_is_read(build, tmp_path):
    case = read_case(with_image(build, tmp_path, lambda ds: None))
    assert case.image is not None
