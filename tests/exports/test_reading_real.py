"""Reading what planning systems export."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from cordgap.case.case import Prescription
from cordgap.dicom import read_case
from cordgap.dicom.dose_sum import read_dose
from cordgap.errors import AmbiguousInputError, DicomError

LUNG = "lung2018_multivendor"
LUNG_SETS = ("eclipse_RS.dcm", "tomo_RS.dcm")
LUNG_DOSES = {
    # name: shape, maximum in Gy as stated in the notes on the data, prescription
    "pinnacle_plan1_RD.dcm": ((48, 89, 126), 61.45, None),
    "pinnacle_plan2_RD.dcm": ((48, 89, 126), 59.38, None),
    "monaco_IMRT_RD.dcm": ((177, 81, 139), 27.79, Prescription(20.0, 3, "RTPLAN")),
    "monaco_VMAT_RD.dcm": ((177, 81, 139), 10.26, Prescription(20.0, 3, "RTPLAN")),
}
RAYSTATION = "raystation_proton_ramp_phantom"


@pytest.fixture
def real(shared_data):
    return shared_data / "real"


def codes(case):
    return {finding.code for finding in case.findings}


@pytest.mark.parametrize("dose_name", LUNG_DOSES)
@pytest.mark.parametrize("set_name", LUNG_SETS)
def test_every_pair_of_the_lung_plans_reads(real, set_name, dose_name):
    shape, maximum_gy, prescription = LUNG_DOSES[dose_name]
    case = read_case(real / LUNG, rtstruct=set_name, rtdose=dose_name)
    cord = case.structure("SPINAL CORD2")
    assert (cord.role, cord.status) == ("cord", "ok")
    assert len(cord.planes) == 109
    assert (cord.z_mm[0], cord.z_mm[-1]) == (-67.0, 257.0)
    assert len(case.structures) == 15
    assert case.dose.geometry.shape == shape
    assert case.dose.values.max() == pytest.approx(maximum_gy, abs=0.006)
    assert case.prescription == prescription
    assert [i.file for i in case.inputs][:2] == [set_name, dose_name]
    assert case.inputs[2].file == dose_name.replace("_RD", "_RP")
    assert {"reference-dangling-rtstruct", "patient-id-differs"} <= codes(case)
    assert ("dose-summation-fraction" in codes(case)) == dose_name.startswith("pinnacle")


def test_lung_folder_lists_its_doses(real):
    with pytest.raises(AmbiguousInputError, match=r"4 doses fit: monaco_IMRT.*FRACTION, 'VMAT.0'"):
        read_case(real / LUNG)


@pytest.mark.parametrize("system", ["pinnacle_plan1", "monaco_IMRT"])
def test_structure_set_is_found_by_frame_of_reference(real, tmp_path, system):
    for name in ("eclipse_RS.dcm", f"{system}_RD.dcm", f"{system}_RP.dcm"):
        shutil.copyfile(real / LUNG / name, tmp_path / name)
    case = read_case(tmp_path, wanted=["SPINAL CORD2"])
    assert [i.kind for i in case.inputs] == ["rtstruct", "rtdose", "rtplan"]
    assert "reference-dangling-rtstruct" in codes(case)


def test_pinnacle_dose_covers_part_of_the_cord(real):
    files = real / LUNG
    case = read_case(rtstruct=files / "eclipse_RS.dcm", rtdose=files / "pinnacle_plan1_RD.dcm")
    z = case.dose.geometry.z_mm
    assert (z[0], z[-1]) == pytest.approx((-58.4404, 129.5596))
    assert case.structure("SPINAL CORD2").z_mm[-1] > z[-1]


def test_breast_plan(real):
    case = read_case(real / "dicompyler_breast")
    assert case.prescription == Prescription(14.0, 7, "RTPLAN")
    assert case.dose.values.max() == pytest.approx(14.68, abs=0.005)
    assert case.dose.geometry.shape == (98, 129, 194)
    status = {s.roi_name: s.status for s in case.structures}
    assert status.pop("Areola") == "empty"
    assert set(status.values()) == {"ok"}
    assert case.image is not None
    assert case.image.geometry.shape == (1, 512, 512)
    assert case.image.values.min() < -900
    assert case.patient_position == "HFS"
    assert codes(case) == set()


def test_raystation_plan_dose_equals_the_sum_of_its_beams(real):
    folder = real / RAYSTATION
    beams = sorted(p.name for p in folder.glob("RD*") if ".3000." not in p.name)
    plan, summed = read_case(folder), read_case(folder, rtdose=beams)
    assert plan.dose_type == summed.dose_type == "EFFECTIVE"
    assert "dose-effective" in codes(plan)
    assert "dose-summed-from-beams" in codes(summed)
    # Each stored value is rounded to half a step of 3.4e-5 Gy.
    np.testing.assert_allclose(plan.dose.values, summed.dose.values, atol=6e-5)
    assert plan.structure("LoPo").status == "empty"
    with pytest.raises(DicomError, match=r"incomplete: found beams \[1\]"):
        read_case(folder, rtdose=beams[0])


def test_head_and_neck(real):
    case = read_case(real / "openkbp_pt_290")
    assert case.structure("SpinalCord").role == "cord"
    assert case.prescription is None
    assert {"rtplan-missing", "reference-missing-rtstruct"} == codes(case)
    assert case.dose.geometry.spacing_mm == pytest.approx((3.906, 3.906, 2.5))


def test_eclipse_phantom(real):
    case = read_case(real / "slicerrt_EclipseEnt")
    assert len(case.structures) == 16
    assert case.dose.values.max() == pytest.approx(62.61, abs=0.005)


def test_absurd_dose_is_refused(real):
    path = real / "eyeplan_singleframe_RD" / "rtdose.dcm"
    with pytest.raises(DicomError, match=r"rtdose.dcm: found a dose of 9896 Gy"):
        read_dose([path])
    with pytest.raises(DicomError, match="no RTSTRUCT was found"):
        read_case(path.parent)


@pytest.mark.parametrize("plan", ["P1s", "P1t", "P2a"])
def test_each_replanned_dose_brings_its_plan(shared_data, plan):
    folder = shared_data / "replan" / "anterior" / "0mm"
    case = read_case(folder, rtdose=f"RTDOSE_{plan}.dcm")
    assert [i.file for i in case.inputs] == [
        "RTSTRUCT.dcm",
        f"RTDOSE_{plan}.dcm",
        f"RTPLAN_{plan}.dcm",
    ]
    assert case.prescription == Prescription(24.0, 1, "RTPLAN")


def test_any_cut_of_a_real_structure_set_is_refused(real, tmp_path):
    whole = (real / LUNG / "eclipse_RS.dcm").read_bytes()
    shutil.copyfile(real / LUNG / "pinnacle_plan1_RD.dcm", tmp_path / "rd.dcm")
    for cut in (0.1, 0.33, 0.5, 0.66, 0.9, 0.999):
        (tmp_path / "rs.dcm").write_bytes(whole[: int(cut * len(whole))])
        with pytest.raises(DicomError, match=r"rs.dcm: the structure set is truncated"):
            read_case(tmp_path)
