"""Derived structures: conformant, on the planes of the original, of the volumes that were meant."""

from __future__ import annotations

import hashlib
import subprocess
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import numpy as np
import pydicom
import pytest
import shapely

from cordgap.dicom.read import read_case
from cordgap.dicom.structures import read_structures
from cordgap.dvh.solid import build_solid
from cordgap.errors import DicomError, OptionError
from cordgap.export.bundle import DVHS, REPORT, STRUCTURES, dicom_contents
from cordgap.export.document import encapsulated_pdf_bytes
from cordgap.export.rois import unique_name
from cordgap.export.rtstruct import rtstruct_bytes, write_rtstruct
from cordgap.report.document import document_pdf

PLAN = Path(__file__).parents[2] / "plans" / "ring"
# The volume of cells (dvh/resect) and the volume of contours differ by the cells at the border.
VOLUME = 5e-3


def original() -> Path:
    return next(f.path for f in read_case(PLAN).inputs if f.kind == "rtstruct")


@pytest.fixture(scope="module")
def written(ring, tmp_path_factory):
    """Return the folder of the three objects, and the PDF inside one of them."""
    folder = tmp_path_factory.mktemp("dicom")
    pdf = document_pdf(ring)
    contents, notes = dicom_contents(ring, pdf)
    assert set(contents) == {STRUCTURES, DVHS, REPORT}
    assert notes == ("DVHs not written, as they are not complete: BODY",)
    for name, data in contents.items():
        path = folder / Path(name).name
        path.write_bytes(data)
    return folder, pdf


@pytest.fixture(scope="module")
def regions(written):
    folder, _ = written
    found = read_structures(folder / "structures.dcm")
    assert not found.findings
    return {s.roi_name: s for s in found.structures}


def volume_cc(structure) -> float:
    return build_solid(structure).volume_cc


@pytest.fixture(scope="module")
def at(ring) -> str:
    """The required separation as names hold it."""
    assert ring.separation.make_mm == 3.0
    return f"{ring.separation.required_separation_mm:.1f}mm"


def test_every_region_is_there(regions, at):
    assert list(regions) == [
        f"CG_Resect_{at}", f"CG_Remain_{at}", f"CG_Shell_{at}",
        "CG_Resect_3.0mm", "CG_Remain_3.0mm", "CG_Shell_3.0mm", "CG_Cord_PRV1.5",
    ]  # fmt: skip
    assert all(s.status == "ok" and s.colour is not None for s in regions.values())
    assert all(s.role == "other" for s in regions.values()), "none may be taken for cord or target"
    codes = {f.code for s in regions.values() for f in build_solid(s).findings}
    assert not codes


def test_volumes_are_those_of_the_result(ring, regions, at):
    s = ring.separation
    target = build_solid(ring.target.structure).volume_cc
    closer = {p.separation_mm: p.resection_cc for p in s.curve}
    for word, resected in ((at, s.resection_cc), ("3.0mm", closer[3.0])):
        removed, left = (
            volume_cc(regions[f"CG_Resect_{word}"]),
            volume_cc(regions[f"CG_Remain_{word}"]),
        )
        assert removed == pytest.approx(resected, rel=VOLUME)
        assert left == pytest.approx(target - resected, rel=VOLUME)
        assert removed + left == pytest.approx(target, rel=1e-5)


def test_shell_and_prv_keep_their_distance(ring, regions):
    cord = build_solid(ring.cord.structure)
    middle = ring.cord.structure.planes[len(ring.cord.structure.planes) // 2]
    body = shapely.Polygon(middle.contours[0])
    for name, distance, hollow in (("CG_Shell_3.0mm", 3.0, True), ("CG_Cord_PRV1.5", 1.5, False)):
        plane = next(p for p in regions[name].planes if abs(p.z_mm - middle.z_mm) < 1e-6)
        (ring_points,) = plane.contours
        outline = shapely.Polygon(ring_points)
        area = abs(_shoelace(ring_points))
        grown = body.buffer(distance, quad_segs=64).area  # this cord is straight to 3 degrees
        assert area == pytest.approx(grown - (body.area if hollow else 0.0), rel=VOLUME)
        assert outline.convex_hull.contains(body)
    assert volume_cc(regions["CG_Cord_PRV1.5"]) > cord.volume_cc


def _shoelace(points):
    x, y = points.T
    return 0.5 * float(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1)))


def test_planes_and_images_are_those_of_the_original(written, regions, ring):
    ds = pydicom.dcmread(written[0] / "structures.dcm")
    source = pydicom.dcmread(original())
    levels = {round(float(z), 5) for s in (ring.cord, ring.target) for z in s.structure.z_mm}
    assert {round(float(p.z_mm), 5) for s in regions.values() for p in s.planes} <= levels
    images = {}
    for roi in source.ROIContourSequence:
        for contour in roi.ContourSequence:
            images[round(float(contour.ContourData[2]), 5)] = contour.ContourImageSequence[0]
    for roi in ds.ROIContourSequence:
        for contour in roi.ContourSequence:
            image = images[round(float(contour.ContourData[2]), 5)]
            (mine,) = contour.ContourImageSequence
            assert mine.ReferencedSOPInstanceUID == image.ReferencedSOPInstanceUID
            assert len(contour.ContourData) == 3 * contour.NumberOfContourPoints
    (frame,), (of,) = (x.ReferencedFrameOfReferenceSequence for x in (ds, source))
    assert frame.FrameOfReferenceUID == of.FrameOfReferenceUID == ds.FrameOfReferenceUID
    assert frame.RTReferencedStudySequence == of.RTReferencedStudySequence


def test_it_refers_to_the_original_and_is_new(written):
    ds, source = pydicom.dcmread(written[0] / "structures.dcm"), pydicom.dcmread(original())
    (before,) = ds.PredecessorStructureSetSequence
    assert before.ReferencedSOPInstanceUID == source.SOPInstanceUID
    assert ds.StudyInstanceUID == source.StudyInstanceUID
    assert ds.SOPInstanceUID not in (source.SOPInstanceUID, source.SeriesInstanceUID)
    assert ds.SeriesInstanceUID != source.SeriesInstanceUID
    names = [item.ROIName for item in ds.StructureSetROISequence]
    assert all(len(name) <= 16 for name in names)
    taken = {item.ROIName.casefold() for item in source.StructureSetROISequence}
    assert len({name.casefold() for name in names} | taken) == len(names) + len(taken)
    assert ds.ApprovalStatus == "UNAPPROVED"
    assert not str(ds.PatientName)
    assert ds.PatientID == ""


def test_the_same_input_gives_the_same_object(ring):
    first, _ = rtstruct_bytes(ring)
    assert first == rtstruct_bytes(ring)[0]
    other = pydicom.dcmread(_file(rtstruct_bytes(ring, at_mm=4.0)[0]))
    assert other.SOPInstanceUID != pydicom.dcmread(_file(first)).SOPInstanceUID
    assert other.StructureSetROISequence[0].ROIName == "CG_Resect_4.0mm"


def _file(data):
    return BytesIO(data)


def test_only_what_surgery_reaches_is_removed(reached, tmp_path):
    write_rtstruct(reached, tmp_path / "rs.dcm", at_mm=3.0)
    (removed,) = read_structures(tmp_path / "rs.dcm", wanted="CG_Resect_3.0mm").structures
    at = {p.separation_mm: p.resection_cc for p in reached.separation.curve}
    assert volume_cc(removed) == pytest.approx(at[3.0], rel=VOLUME)


def test_originals_are_never_written_to(ring, tmp_path):
    before = {p: hashlib.sha256(p.read_bytes()).digest() for p in PLAN.iterdir()}
    for kind in ("rtstruct", "rtdose", "rtplan"):
        path = next(f.path for f in ring.case.inputs if f.kind == kind)
        with pytest.raises(OptionError, match="is a file of the plan itself"):
            write_rtstruct(ring, path)
    write_rtstruct(ring, tmp_path / "rs.dcm")
    assert before == {p: hashlib.sha256(p.read_bytes()).digest() for p in PLAN.iterdir()}


def test_what_was_written_is_not_taken_for_the_plan(written, tmp_path):
    for path in (*PLAN.iterdir(), *written[0].iterdir()):
        (tmp_path / path.name).symlink_to(path)
    case = read_case(tmp_path)
    assert {s.roi_name for s in case.structures} == {s.roi_name for s in read_case(PLAN).structures}
    assert sum(i.reason == "written by cordgap from a plan" for i in case.ignored) == 2
    named = read_case(tmp_path, rtstruct="structures.dcm")
    assert "CG_Cord_PRV1.5" in {s.roi_name for s in named.structures}


def test_pdf_comes_back_as_it_went(written):
    folder, pdf = written
    ds = pydicom.dcmread(folder / "report.dcm")
    assert ds.EncapsulatedDocument[: ds.EncapsulatedDocumentLength] == pdf
    assert ds.MIMETypeOfEncapsulatedDocument == "application/pdf"
    assert ds.BurnedInAnnotation == "NO"
    uids = {i.ReferencedSOPInstanceUID for i in ds.SourceInstanceSequence}
    assert {f.sop_instance_uid for f in read_case(PLAN).inputs if f.kind != "ct"} == uids


def test_refusals(ring):
    with pytest.raises(DicomError, match="no PDF"):
        encapsulated_pdf_bytes(ring, b"<html>")
    for at in (0.0, -1.0, 99.0, float("nan")):
        with pytest.raises(OptionError, match="--at is"):
            rtstruct_bytes(ring, at_mm=at)
    phantom = replace(ring, case=replace(ring.case, inputs=()))
    with pytest.raises(DicomError, match="only for a plan that was read from an RTSTRUCT"):
        rtstruct_bytes(phantom)
    with pytest.raises(DicomError, match="only for a plan that was read from an RTSTRUCT"):
        encapsulated_pdf_bytes(phantom, b"%PDF-1.4")


def test_without_an_answer_the_cord_alone_is_written(ring, at, tmp_path):
    nothing = replace(ring, separation=None, separation_reason="there is no target")
    notes = write_rtstruct(nothing, tmp_path / "rs.dcm", at_mm=3.0)
    assert notes == (
        "what is removed and left, and the shell, are not written: there is no target",
    )
    (only,) = read_structures(tmp_path / "rs.dcm").structures
    assert only.roi_name == "CG_Cord_PRV1.5"
    unknown = replace(ring, separation=replace(ring.separation, required_separation_mm=None))
    assert "choose a separation with --at MM" in rtstruct_bytes(unknown)[1][0]
    ptv = replace(ring, separation=replace(ring.separation, target_role="ptv", resection_cc=None))
    content, notes = rtstruct_bytes(ptv)
    assert "no resection volume can be given" in notes[0]
    names = {i.ROIName for i in pydicom.dcmread(_file(content)).StructureSetROISequence}
    assert names == {f"CG_Shell_{at}", "CG_Shell_3.0mm", "CG_Cord_PRV1.5"}


def test_names_are_unique_and_short():
    taken = {"cg_resect_10.5mm"}
    assert unique_name("CG_Resect_10.5mm", taken) == "CG_Resect_10.5_2"
    assert unique_name("CG_RESECT_10.5mm", taken) == "CG_RESECT_10.5_3"
    assert unique_name("CG_Shell_2.0mm and more", taken) == "CG_Shell_2.0mm a"


@pytest.mark.parametrize("name", ["structures.dcm", "dvh.dcm", "report.dcm"])
def test_dciodvfy_finds_no_error(written, debian, name):
    program = debian("dciodvfy", "dicom3tools")
    done = subprocess.run(
        [program, str(written[0] / name)], capture_output=True, text=True, check=False
    )
    said = (done.stdout + done.stderr).splitlines()
    assert any(line in ("RTStructureSet", "RTDose", "EncapsulatedPDF") for line in said)
    assert not [line for line in said if line.startswith("Error")]


def test_dciodvfy_does_find_errors(written, debian, tmp_path):
    """Otherwise the test above could not fail."""
    ds = pydicom.dcmread(written[0] / "structures.dcm")
    del ds.StructureSetLabel
    ds.save_as(tmp_path / "bad.dcm")
    program = debian("dciodvfy", "dicom3tools")
    done = subprocess.run(
        [program, str(tmp_path / "bad.dcm")], capture_output=True, text=True, check=False
    )
    assert "Error" in done.stdout + done.stderr


def test_plastimatch_sees_the_same_volumes(written, regions, debian, tmp_path):
    program = debian("plastimatch", "plastimatch")
    step = (0.25, 0.25, 1.5)  # planes every 1.5 mm
    done = subprocess.run(
        [
            program, "convert", "--input", str(written[0] / "structures.dcm"),
            "--output-prefix", str(tmp_path), "--prefix-format", "nrrd",
            "--origin", "-40 -10 -36", "--dim", "320 320 49",
            "--spacing", " ".join(map(str, step)),
        ],
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    files = {p.stem: p for p in tmp_path.glob("*.nrrd")}
    assert set(files) == set(regions)
    for name in ("CG_Resect_3.0mm", "CG_Shell_3.0mm", "CG_Cord_PRV1.5"):
        counted = int(_nrrd(files[name]).sum()) * float(np.prod(step)) / 1000
        # Pixels of 0.25 mm, counted where their middle lies inside.
        assert counted == pytest.approx(volume_cc(regions[name]), rel=0.02), name


def _nrrd(path):
    import gzip

    head, body = path.read_bytes().split(b"\n\n", 1)
    return np.frombuffer(gzip.decompress(body) if b"encoding: gz" in head else body, np.uint8) > 0


def test_orthanc_stores_them(written, orthanc):
    for path in sorted(written[0].glob("*.dcm")):
        answer = orthanc.call("/instances", path.read_bytes())
        assert answer["Status"] == "Success", path.name
        assert orthanc.call(f"/instances/{answer['ID']}/file") == path.read_bytes()
    (study,) = orthanc.call("/studies?expand")
    uid = pydicom.dcmread(original()).StudyInstanceUID
    assert study["MainDicomTags"]["StudyInstanceUID"] == uid
    assert len(study["Series"]) == 3
