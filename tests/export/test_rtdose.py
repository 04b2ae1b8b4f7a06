"""DVHs as DICOM: conformant, read back by others, and free of names."""

from __future__ import annotations

import warnings

import numpy as np
import pydicom
import pytest

from cordgap.dicom.compat import provide_read_file
from cordgap.dicom.read import read_case
from cordgap.dvh.presets import Rules, compute_under
from cordgap.errors import DicomError, OptionError
from cordgap.export.rtdose import MAX_BINS, write_dvh_dose
from cordgap.phantom import cord_in_linear_dose

# PS3.3 A.18.3 without a dose grid: patient, study, RT series, frame of reference, equipment, RT
# dose, RT DVH, SOP common.
TYPE_1 = (
    "SOPClassUID SOPInstanceUID StudyInstanceUID SeriesInstanceUID Modality FrameOfReferenceUID "
    "DoseUnits DoseType DoseSummationType ReferencedRTPlanSequence ReferencedStructureSetSequence "
    "DVHSequence"
)
TYPE_2 = (
    "PatientName PatientID PatientBirthDate PatientSex StudyDate StudyTime StudyID AccessionNumber "
    "ReferringPhysicianName SeriesNumber Manufacturer OperatorsName PositionReferenceIndicator"
)
ITEM_TYPE_1 = (
    "DVHReferencedROISequence DVHType DoseUnits DoseType DVHDoseScaling DVHVolumeUnits "
    "DVHNumberOfBins DVHData"
)


@pytest.fixture(scope="module")
def folder(build, tmp_path_factory):
    return build.plan_folder(tmp_path_factory.mktemp("plan"))


@pytest.fixture(scope="module")
def computed(folder):
    case = read_case(folder, identify=True)
    return case, compute_under(case, Rules())


@pytest.fixture
def written(computed, tmp_path):
    path = tmp_path / "dvh.dcm"
    left = write_dvh_dose(*computed, path, comment="(shape, half-slice)")
    assert left == ()
    return path, pydicom.dcmread(path)


def test_attributes(written, computed, build):
    _, ds = written
    assert ds.file_meta.TransferSyntaxUID == pydicom.uid.ExplicitVRLittleEndian
    assert ds.file_meta.MediaStorageSOPInstanceUID == ds.SOPInstanceUID
    assert all(ds.get(word) not in (None, "", []) for word in TYPE_1.split())
    assert all(word in ds for word in TYPE_2.split())
    assert ds.SOPClassUID == build.RTDOSE
    assert (ds.DoseUnits, ds.DoseType, ds.DoseSummationType) == ("GY", "PHYSICAL", "PLAN")
    assert "PixelData" not in ds
    for item in ds.DVHSequence:
        assert all(word in item for word in ITEM_TYPE_1.split())
        assert (item.DVHType, item.DoseUnits, item.DVHVolumeUnits) == ("CUMULATIVE", "GY", "CM3")
        assert item.DVHReferencedROISequence[0].DVHROIContributionType == "INCLUDED"
        assert len(item.DVHData) == 2 * int(item.DVHNumberOfBins) <= 2 * MAX_BINS
    numbers = [i.DVHReferencedROISequence[0].ReferencedROINumber for i in ds.DVHSequence]
    assert numbers == [r.structure.roi_number for r in computed[1]]


def test_references(written, folder, build):
    _, ds = written
    dose = pydicom.dcmread(folder / "rtdose.dcm")
    assert ds.SOPInstanceUID != dose.SOPInstanceUID
    assert ds.SeriesInstanceUID != dose.SeriesInstanceUID
    assert ds.StudyInstanceUID == dose.StudyInstanceUID
    assert ds.FrameOfReferenceUID == dose.FrameOfReferenceUID
    (struct,), (plan,) = ds.ReferencedStructureSetSequence, ds.ReferencedRTPlanSequence
    assert struct.ReferencedSOPInstanceUID == build.STRUCT_UID
    assert struct.ReferencedSOPClassUID == build.RTSTRUCT
    assert plan.ReferencedSOPInstanceUID == build.PLAN_UID


def test_curves_are_ours(written, computed):
    _, ds = written
    for item, result in zip(ds.DVHSequence, computed[1], strict=True):
        data = np.array(item.DVHData, dtype=float)
        width, volumes = data[0], data[1::2]
        assert (data[0::2] == width).all()
        assert volumes[0] == pytest.approx(result.dvh.total_volume_cc, rel=1e-7)
        assert volumes[-1] == 0
        assert (np.diff(volumes) <= 0).all()
        # The n-th volume is what gets at least n - 1 widths.
        exact = [result.dvh.volume_at_least_cc(k * width) for k in range(1, volumes.size)]
        np.testing.assert_allclose(volumes[1:], exact, rtol=1e-6, atol=1e-6)
        assert float(item.DVHMaximumDose) == pytest.approx(result.dvh.max_gy)
        assert float(item.DVHMinimumDose) == pytest.approx(result.dvh.min_gy)
        assert float(item.DVHMeanDose) == pytest.approx(result.dvh.mean_gy)


def test_dicompyler_reads_them(written, computed):
    path, _ = written
    provide_read_file()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from dicompylercore import dicomparser

        found = dicomparser.DicomParser(str(path)).GetDVHs()
        for result in computed[1]:
            dvh = found[result.structure.roi_number]
            volume = result.dvh.total_volume_cc
            assert dvh.volume == pytest.approx(volume, rel=1e-6)
            # It returns the bin next to the dose: one width of 0.02 Gy.
            for share in (2, 50, 95):
                ours = result.dvh.dose_of_hottest_gy(share / 100 * volume)
                assert dvh.dose_constraint(share).value == pytest.approx(ours, abs=0.03)
            assert dvh.mean == pytest.approx(result.dvh.mean_gy, abs=0.03)
            assert dvh.volume_constraint(20, "Gy").value == pytest.approx(
                result.dvh.volume_at_least_cc(20.0), rel=1e-3
            )


def test_no_name_unless_asked_for(computed, written, tmp_path):
    path, ds = written
    case, results = computed
    secrets = [v.encode() for v in case.identity.values()]
    assert len(secrets) == 3
    assert not any(secret in path.read_bytes() for secret in secrets)
    assert (str(ds.PatientName), ds.PatientID, ds.PatientIdentityRemoved) == ("", "", "YES")
    named = tmp_path / "named.dcm"
    write_dvh_dose(case, results, named, identify=True)
    found = pydicom.dcmread(named)
    assert (str(found.PatientName), found.PatientID) == ("SECRET^NAME", "SECRET-ID")
    assert found.PatientBirthDate == "19500101"
    assert "PatientIdentityRemoved" not in found
    assert found.SOPInstanceUID != ds.SOPInstanceUID


def test_same_input_same_file_and_other_rules_another_object(computed, written, tmp_path):
    path, ds = written
    again = tmp_path / "again.dcm"
    write_dvh_dose(*computed, again, comment="(shape, half-slice)")
    assert again.read_bytes() == path.read_bytes()
    case = computed[0]
    write_dvh_dose(case, compute_under(case, Rules("slab", "rounded")), again)
    assert pydicom.dcmread(again).SOPInstanceUID != ds.SOPInstanceUID
    assert sorted(p.name for p in tmp_path.iterdir()) == ["again.dcm", "dvh.dcm"]


def test_structures_partly_outside_are_left_out(build, tmp_path):
    rois = {
        "SpinalCord": build.tube(),
        "Long": build.tube(z=range(-12, 200, 3)),
        "Away": build.tube(z=range(300, 320, 3)),
    }
    case = read_case(build.plan_folder(tmp_path / "plan", rtstruct=build.rtstruct(rois)))
    left = write_dvh_dose(case, compute_under(case, Rules()), tmp_path / "dvh.dcm")
    assert left == ("Long", "Away")
    assert len(pydicom.dcmread(tmp_path / "dvh.dcm").DVHSequence) == 1
    only = compute_under(case, Rules(), names=["Away"])
    with pytest.raises(OptionError, match="no structure is wholly inside the dose grid"):
        write_dvh_dose(case, only, tmp_path / "none.dcm")
    assert not (tmp_path / "none.dcm").exists()


def test_sum_of_beams_is_a_plan_dose(build, tmp_path):
    folder = build.plan_folder(tmp_path / "plan", rtdose=None)
    for beam in (1, 2):
        ds = build.rtdose(number=20 + beam, kind="BEAM", beams=[beam])
        build.save(ds, folder / f"beam{beam}.dcm")
    case = read_case(folder)
    write_dvh_dose(case, compute_under(case, Rules()), tmp_path / "dvh.dcm")
    assert pydicom.dcmread(tmp_path / "dvh.dcm").DoseSummationType == "PLAN"


def test_input_is_not_overwritten(computed, folder):
    with pytest.raises(OptionError, match=r"rtdose.dcm is a file of the plan itself"):
        write_dvh_dose(*computed, folder / "rtdose.dcm")


def test_a_phantom_has_nothing_to_refer_to(tmp_path):
    case = cord_in_linear_dose()
    with pytest.raises(DicomError, match="only for a plan that was read from an RTSTRUCT"):
        write_dvh_dose(case, compute_under(case, Rules()), tmp_path / "dvh.dcm")


def test_dose_without_a_study(build, tmp_path):
    dose = build.rtdose()
    del dose.StudyInstanceUID
    case = read_case(build.plan_folder(tmp_path / "plan", rtdose=dose))
    with pytest.raises(DicomError, match="StudyInstanceUID is absent"):
        write_dvh_dose(case, compute_under(case, Rules()), tmp_path / "dvh.dcm")
