"""The reading of well-formed plans."""

from __future__ import annotations

import numpy as np
import pytest

from cordgap.case.case import Prescription
from cordgap.dicom import discover, read_case
from cordgap.errors import AmbiguousInputError, DicomError, StructureNotFoundError


def codes(case):
    return {finding.code for finding in case.findings}


def test_a_plan_is_read_without_findings(build, tmp_path):
    dose = build.rtdose(spacing=(2.5, 2.5))
    case = read_case(build.plan_folder(tmp_path, rtdose=dose))
    assert [s.roi_name for s in case.structures] == ["SpinalCord", "GTV"]
    assert [s.role for s in case.structures] == ["cord", "gtv"]
    assert case.structures[0].colour == (255, 10, 0)
    assert len(case.structures[0].planes) == 9
    assert case.prescription == Prescription(24.0, 2, "RTPLAN")
    assert case.patient_position == "HFS"
    assert case.frame_of_reference_uid == build.FRAME
    assert [i.kind for i in case.inputs] == ["rtstruct", "rtdose", "rtplan"]
    assert all(len(i.sha256) == 64 for i in case.inputs)
    assert codes(case) == set()


def test_dose_values_lie_where_the_file_says(build, tmp_path):
    dose = read_case(build.plan_folder(tmp_path)).dose
    z, y, x = np.meshgrid(*dose.geometry.axes, indexing="ij")
    np.testing.assert_allclose(dose.values, build.field(x, y, z), atol=1e-5)
    assert dose.geometry.spacing_mm == (2.5, 3.0, 3.0)


def test_a_block_is_the_same_as_that_part_of_the_whole(build, tmp_path):
    dose = read_case(build.plan_folder(tmp_path)).dose
    block = (slice(2, 5), slice(4, 9), slice(3, 7))
    np.testing.assert_array_equal(dose.load(block), dose.values[block])


def test_identity_is_filled_only_on_request(build, tmp_path):
    folder = build.plan_folder(tmp_path)
    assert read_case(folder).identity == {}
    identity = read_case(folder, identify=True).identity
    assert identity["patient_name"] == build.PATIENT
    assert identity["patient_id"] == "SECRET-ID"


def test_case_id_is_stable_and_hashes_can_be_left_out(build, tmp_path):
    folder = build.plan_folder(tmp_path)
    first, second = read_case(folder), read_case(folder, with_hashes=False)
    assert first.case_id == second.case_id
    assert second.inputs[0].sha256 is None


def test_only_wanted_structures_are_read(build, tmp_path):
    folder = build.plan_folder(tmp_path)
    assert [s.roi_name for s in read_case(folder, wanted=["spinalcord "]).structures] == [
        "SpinalCord"
    ]
    assert [s.roi_name for s in read_case(folder, wanted="GTV").structures] == ["GTV"]
    by_rule = read_case(folder, wanted=lambda name: name.startswith("G"))
    assert [s.roi_name for s in by_rule.structures] == ["GTV"]
    with pytest.raises(StructureNotFoundError, match=r"'Heart'.*has: SpinalCord, GTV"):
        read_case(folder, wanted=["Heart"])


def test_files_are_found_by_content_in_any_folder(build, tmp_path):
    build.plan_folder(tmp_path / "a")
    (tmp_path / "b").mkdir()
    (tmp_path / "a" / "rtdose.dcm").rename(tmp_path / "b" / "notes.txt")
    (tmp_path / "b" / "readme.dcm").write_text("not an image at all")
    found = discover(tmp_path)
    assert sorted(r.kind for r in found.records) == ["rtdose", "rtplan", "rtstruct"]
    assert found.not_dicom == 1
    assert read_case(tmp_path).dose is not None


def test_single_files_without_a_folder(build, tmp_path):
    folder = build.plan_folder(tmp_path)
    case = read_case(rtstruct=folder / "rtstruct.dcm", rtdose=folder / "rtdose.dcm")
    assert case.prescription is None
    assert "rtplan-missing" in codes(case)
    with pytest.raises(DicomError, match="--rtstruct FILE and --rtdose FILE"):
        read_case(rtstruct=folder / "rtstruct.dcm")


def test_contours_alone_when_no_dose_is_needed(build, tmp_path):
    folder = build.plan_folder(tmp_path, rtdose=None)
    case = read_case(folder, need_dose=False, prescription=Prescription(24.0, 1, "option"))
    assert case.dose is None
    assert case.prescription == Prescription(24.0, 1, "option")


def test_the_chosen_dose_brings_its_plan(build, tmp_path):
    folder = build.plan_folder(tmp_path)
    build.save(build.rtplan((("SITE", 30.0),), number=13, fractions=3), folder / "other_plan")
    build.save(build.rtdose(number=12, plan=build.uid(13)), folder / "other_dose")
    with pytest.raises(AmbiguousInputError, match=r"2 doses fit: .*'plan13'.*--rtdose NAME"):
        read_case(folder)
    for option in ("other_dose", folder / "other_dose", f"{folder.name}/other_dose"):
        assert read_case(folder, rtdose=[option]).prescription == Prescription(30, 3, "RTPLAN")
    assert read_case(folder, rtplan="rtplan.dcm").prescription == Prescription(24, 2, "RTPLAN")


def test_plan_dose_is_preferred_to_its_beams(build, tmp_path):
    folder = build.plan_folder(tmp_path)
    half = lambda x, y, z: build.field(x, y, z) / 2  # noqa: E731
    for beam in (1, 2):
        ds = build.rtdose(half, number=20 + beam, kind="BEAM", beams=[beam])
        build.save(ds, folder / f"beam{beam}")
    whole = read_case(folder)
    assert [i.file for i in whole.inputs][1:-1] == ["rtdose.dcm"]
    expected = whole.dose.values
    (folder / "rtdose.dcm").unlink()
    summed = read_case(folder)
    assert "dose-summed-from-beams" in codes(summed)
    np.testing.assert_allclose(summed.dose.values, expected, atol=3e-6)


def test_set_up_beams_deliver_no_dose(build, tmp_path):
    folder = build.plan_folder(
        tmp_path,
        rtplan=build.rtplan(beams=(1,), setup=(7,)),
        rtdose=build.rtdose(kind="BEAM", beams=[1]),
    )
    assert "dose-summed-from-beams" in codes(read_case(folder))


def test_a_copy_of_a_file_is_left_out(build, tmp_path):
    folder = build.plan_folder(tmp_path)
    (folder / "zcopy.dcm").write_bytes((folder / "rtdose.dcm").read_bytes())
    assert "file-copy" in codes(read_case(folder))
    assert read_case(folder, rtdose="zcopy.dcm").inputs[1].file == "zcopy.dcm"


@pytest.mark.parametrize(
    ("targets", "expected", "code"),
    [
        ((("SITE", 24.0), ("SITE", 24.0)), 24.0, None),
        ((("SITE", 24.0), ("COORDINATES", 22.5)), 24.0, None),
        ((("COORDINATES", 22.5),), 22.5, None),
        ((("SITE", 24.0), ("VOLUME", 16.0)), None, "prescription-ambiguous"),
        ((), None, "prescription-missing"),
        ((("SITE", 2400.0),), None, "prescription-implausible"),
    ],
)
def test_prescription(build, tmp_path, targets, expected, code):
    case = read_case(build.plan_folder(tmp_path, rtplan=build.rtplan(targets)))
    assert (case.prescription and case.prescription.dose_gy) == expected
    assert (code in codes(case)) if code else case.prescription.fractions == 2


def test_several_fraction_groups_leave_the_prescription_open(build, tmp_path):
    case = read_case(build.plan_folder(tmp_path, rtplan=build.rtplan(groups=2)))
    assert case.prescription is None
    assert "prescription-ambiguous" in codes(case)


def test_ct_is_sorted_and_in_hu(build, tmp_path):
    folder = build.plan_folder(tmp_path)
    for index, z in enumerate((3.0, -3.0, 0.0)):
        build.save(build.ct_slice(z, number=f"5{index}", value=10 * index), folder / f"ct{index}")
    image = read_case(folder).image
    assert image.geometry.z_mm.tolist() == [-3.0, 0.0, 3.0]
    assert image.values[:, 0, 0].tolist() == [10.0, 20.0, 0.0]
    assert image.load((slice(0, 2), slice(1, 3), slice(4, 9))).shape == (2, 2, 5)


def test_a_broken_ct_is_only_a_finding(build, tmp_path):
    folder = build.plan_folder(tmp_path)
    for index in range(2):
        build.save(build.ct_slice(0.0, number=f"5{index}"), folder / f"ct{index}")
    case = read_case(folder)
    assert case.image is None
    assert "ct-not-used" in codes(case)


def test_single_plane_takes_its_thickness_from_the_ct(build, tmp_path):
    folder = build.plan_folder(tmp_path, rtstruct=build.rtstruct({"GTV": [build.circle()]}))
    assert read_case(folder).structures[0].slab_thickness_mm is None
    for index in range(3):
        build.save(build.ct_slice(2.0 * index, number=f"5{index}"), folder / f"ct{index}")
    case = read_case(folder)
    assert case.structures[0].slab_thickness_mm == pytest.approx(2.0)
    assert "slab-thickness-from-ct" in codes(case)


def test_single_plane_takes_its_thickness_from_the_file_first(build, tmp_path):
    ds = build.rtstruct({"GTV": [build.circle()]})
    ds.ROIContourSequence[0].ContourSequence[0].ContourSlabThickness = "1.5"
    case = read_case(build.plan_folder(tmp_path, rtstruct=ds))
    assert case.structures[0].slab_thickness_mm == 1.5


def test_ten_thousand_unrelated_files_are_skipped(tmp_path):
    for index in range(300):
        (tmp_path / f"{index}.txt").write_bytes(b"\x08\x00 anything" * index)
    found = discover(tmp_path)
    assert (len(found.records), found.not_dicom) == (0, 300)


def test_a_given_prescription_silences_what_is_said_about_it(build, tmp_path):
    folder = build.plan_folder(tmp_path, rtplan=build.rtplan(()))
    assert "prescription-missing" in codes(read_case(folder))
    given = Prescription(24.0, 1, "option")
    case = read_case(folder, prescription=given)
    assert case.prescription == given
    assert "prescription-missing" not in codes(case)


def test_a_dose_of_two_plans_leaves_the_prescription_open(build, tmp_path):
    ds = build.rtdose(kind="MULTI_PLAN")
    ds.ReferencedRTPlanSequence.append(build.reference(build.uid(13)))
    folder = build.plan_folder(tmp_path, rtdose=ds)
    build.save(build.rtplan(number=13), folder / "second_plan")
    case = read_case(folder)
    assert case.prescription is None
    assert {"prescription-ambiguous", "dose-summation-unusual"} <= codes(case)


@pytest.mark.parametrize(("beam_gy", "is_told"), [(6.0, False), (6.5, False), (3.0, True)])
def test_prescription_against_the_doses_of_the_beams(build, tmp_path, beam_gy, is_told):
    plan = build.rtplan()
    for beam in plan.FractionGroupSequence[0].ReferencedBeamSequence:
        beam.BeamDose = f"{beam_gy}"
    case = read_case(build.plan_folder(tmp_path, rtplan=plan))
    assert case.prescription.dose_gy == 24
    assert ("prescription-beam-dose" in codes(case)) == is_told
