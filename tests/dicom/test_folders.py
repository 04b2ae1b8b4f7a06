"""What people point the program at: ZIP files, CD exports, folders full of other things."""

from __future__ import annotations

import gc
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
from pydicom.fileset import FileSet

import cordgap.dicom.archive as archive
import cordgap.dicom.dataset as dataset
from cordgap.dicom import discover, read_case
from cordgap.errors import DicomError


def zipped(folder: Path, path: Path, **how) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, **how) as target:
        for file in sorted(folder.rglob("*")):
            if file.is_file():
                target.write(file, file.relative_to(folder.parent))
    return path


def test_a_zip_file_is_read_like_its_folder(build, tmp_path):
    folder = build.plan_folder(tmp_path / "plan")
    expected = read_case(folder)
    case = read_case(zipped(folder, tmp_path / "export"))
    np.testing.assert_array_equal(case.dose.values, expected.dose.values)
    assert [f.sha256 for f in case.inputs] == [f.sha256 for f in expected.inputs]
    assert case.case_id == expected.case_id


def test_a_name_in_a_zip_file_cannot_leave_its_folder(build, tmp_path):
    folder = build.plan_folder(tmp_path / "plan")
    path = tmp_path / "export.zip"
    with zipfile.ZipFile(path, "w") as target:
        for kind in ("rtstruct", "rtdose", "rtplan"):
            target.write(folder / f"{kind}.dcm", f"../../../../{tmp_path.name}-{kind}.dcm")
        target.write(folder / "rtplan.dcm", "/absolute/C:\\other\\copy.dcm")
    assert read_case(path).prescription.dose_gy == 24
    assert not list(tmp_path.parent.glob(f"{tmp_path.name}-*"))


def test_a_damaged_zip_file_is_refused(build, tmp_path):
    path = zipped(build.plan_folder(tmp_path / "plan"), tmp_path / "export.zip")
    data = bytearray(path.read_bytes())
    for position in range(200, 2000, 7):
        data[position] ^= 0xFF
    path.write_bytes(bytes(data))
    with pytest.raises(DicomError) as caught:
        read_case(path)
    assert caught.value.code == "archive-damaged"


def test_a_zip_file_that_grows_beyond_measure_is_refused(build, tmp_path, monkeypatch):
    path = zipped(build.plan_folder(tmp_path / "plan"), tmp_path / "export.zip")
    monkeypatch.setattr(archive, "MAX_UNPACKED_BYTES", 10_000)
    with pytest.raises(DicomError) as caught:
        read_case(path)
    assert caught.value.code == "file-too-large"


def test_an_encrypted_zip_file_is_refused(build, tmp_path):
    path = zipped(build.plan_folder(tmp_path / "plan"), tmp_path / "export.zip")
    data = bytearray(path.read_bytes())
    at = data.find(b"PK\x01\x02")
    data[at + 8] |= 1  # general purpose flag of the first entry of the directory
    path.write_bytes(bytes(data))
    with pytest.raises(DicomError) as caught:
        read_case(path)
    assert caught.value.code == "archive-encrypted"


def test_a_deflated_bomb_is_refused(build, tmp_path, monkeypatch):
    folder = build.plan_folder(tmp_path / "plan")
    ds = build.rtdose(bits=16)
    ds.ImageComments = "x" * 10_000
    build.save(ds, folder / "rtdose.dcm", "1.2.840.10008.1.2.1.99")
    assert read_case(folder).dose is not None
    monkeypatch.setattr(dataset, "MAX_INFLATED_BYTES", 5_000)
    with pytest.raises(DicomError, match="grows beyond"):
        read_case(folder)


def cd_export(build, folder: Path) -> Path:
    """A medium with DICOMDIR: names without meaning, in folders of folders."""
    source = build.plan_folder(folder.parent / "source")
    medium = FileSet()
    for kind in ("rtstruct", "rtdose", "rtplan"):
        ds = dataset.pydicom.dcmread(source / f"{kind}.dcm")
        ds.StudyDate, ds.StudyTime, ds.StudyID, ds.AccessionNumber = "20260101", "120000", "1", ""
        ds.SeriesNumber, ds.InstanceNumber, ds.ContentDate, ds.ContentTime = 1, 1, "20260101", "12"
        ds.StructureSetDate = ds.RTPlanDate = "20260101"
        ds.StructureSetTime = ds.RTPlanTime = "120000"
        ds.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.1"
        if kind == "rtplan":
            ds.RTPlanGeometry = "PATIENT"
        medium.add(ds)
    medium.write(folder)
    # pydicom leaves its folder for temporary files to the garbage collector, which warns.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        del medium
        gc.collect()
    return folder


def test_a_cd_export_is_read(build, tmp_path):
    folder = cd_export(build, tmp_path / "cd")
    assert (folder / "DICOMDIR").is_file()
    case = read_case(folder)
    assert [i.kind for i in case.inputs] == ["rtstruct", "rtdose", "rtplan"]
    assert not [f for f in case.findings if f.code == "dicomdir-file-missing"]
    assert any("Media Storage Directory" in i.file for i in case.ignored)


def test_a_file_that_was_not_copied_from_the_cd_is_missed(build, tmp_path):
    folder = cd_export(build, tmp_path / "cd")
    found = {r.kind: r.path for r in discover(folder).records}
    found["rtplan"].unlink()
    case = read_case(folder)
    told = [f for f in case.findings if f.code == "dicomdir-file-missing"]
    assert [f.found for f in told] == ["2 of 3 RT files"]


def test_ten_thousand_unrelated_files(build, tmp_path):
    """Seconds, not minutes: 2 kB of each are read. Measured: about half a second."""
    folder = build.plan_folder(tmp_path / "plan")
    for index in range(10_000):
        place = folder / f"{index // 1000}"
        place.mkdir(exist_ok=True)
        (place / f"{index}.txt").write_bytes(b"nothing")
    counts: list[int] = []
    found = discover(folder, progress=counts.append)
    assert (len(found.records), found.not_dicom) == (3, 10_000)
    assert counts == list(range(100, 10_001, 100))


def test_what_is_ignored_is_listed(build, tmp_path):
    folder = build.plan_folder(tmp_path / "plan")
    (folder / "copy.dcm").write_bytes((folder / "rtdose.dcm").read_bytes())
    (folder / "note.txt").write_text("x")
    build.save(build.rtdose(number=61, kind="BEAM", beams=[1]), folder / "beam.dcm")
    build.save(build.ct_slice(0.0, number=80, frame="1.2.3"), folder / "ct.dcm")
    other = build.common("1.2.840.10008.5.1.4.1.1.4", 90)
    build.save(other, folder / "mr.dcm")
    listed = {i.file: i.reason for i in read_case(folder, rtdose="rtdose.dcm").ignored}
    assert listed == {
        "copy.dcm (PLAN)": "holds the same object as another file",
        "beam.dcm (BEAM)": "not the dose that is used",
        "1 CT slice(s)": "not the CT of the structure set",
        "1 MR Image Storage": "a kind of DICOM file that is not used",
        "1 other file(s)": "not DICOM",
    }


@pytest.mark.parametrize("name", ["lung2018_multivendor", "openkbp_pt_290", "dicompyler_breast"])
def test_real_folders_as_zip_files_say_the_same(shared_data, tmp_path, name):
    folder = shared_data / "real" / name
    path = zipped(folder, tmp_path / "export.zip")
    words = []
    for place in (folder, path):
        try:
            words.append([f.code for f in read_case(place, with_hashes=False).findings])
        except Exception as error:
            words.append(str(error))
    assert words[0] == words[1]
