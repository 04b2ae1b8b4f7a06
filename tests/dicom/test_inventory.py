"""Which plans lie in a tree, each with its own files and no other's."""

from __future__ import annotations

import os
import zipfile

import pytest

from cordgap.dicom.inventory import PlanFiles, take_inventory


def names(plans: tuple[PlanFiles, ...]) -> set[frozenset[str]]:
    return {frozenset(plan.files) for plan in plans}


def put(build, folder, *datasets):
    folder.mkdir(parents=True, exist_ok=True)
    for ds in datasets:
        build.save(ds, folder / f"{ds.Modality}{ds.SOPInstanceUID.rpartition('.')[2]}.dcm")
    return folder


def set_of(build, base):
    """Contours, plan and dose of one plan, with UIDs and a frame of their own."""
    frame = build.uid(f"5.{base}")
    struct = build.rtstruct(number=base, frame=frame)
    plan = build.rtplan(number=base + 1, struct=struct.SOPInstanceUID)
    dose = build.rtdose(number=base + 2, plan=plan.SOPInstanceUID, frame=frame)
    return struct, plan, dose


def test_two_plans_in_one_folder(build, tmp_path):
    put(build, tmp_path, *set_of(build, 10), *set_of(build, 20))
    found = take_inventory(tmp_path)
    assert names(found.plans) == {
        frozenset({"RTSTRUCT10.dcm", "RTPLAN11.dcm", "RTDOSE12.dcm"}),
        frozenset({"RTSTRUCT20.dcm", "RTPLAN21.dcm", "RTDOSE22.dcm"}),
    }
    assert {plan.uids for plan in found.plans} == {(build.uid(12),), (build.uid(22),)}
    assert (found.files, found.not_dicom, found.unreadable) == (6, 0, 0)


def test_files_of_a_plan_may_lie_apart(build, tmp_path):
    struct, plan, dose = set_of(build, 10)
    put(build, tmp_path / "contours", struct)
    put(build, tmp_path / "plan", plan)
    put(build, tmp_path / "dose" / "deep", dose)
    (plans,) = take_inventory(tmp_path).plans
    assert plans.files == ("dose/deep/RTDOSE12.dcm", "plan/RTPLAN11.dcm", "contours/RTSTRUCT10.dcm")


def test_copies_are_told_apart_by_place(build, tmp_path):
    for name in ("a", "b"):
        put(build, tmp_path / name, *set_of(build, 10))
    found = take_inventory(tmp_path).plans
    assert names(found) == {
        frozenset(f"{name}/{file}.dcm" for file in ("RTSTRUCT10", "RTPLAN11", "RTDOSE12"))
        for name in ("a", "b")
    }
    assert all(plan.names_content for plan in found)


def test_the_frame_of_reference_leads_to_contours_that_nothing_names(build, tmp_path):
    struct, _, dose = set_of(build, 10)
    other, *_ = set_of(build, 20)
    put(build, tmp_path / "a", dose)
    put(build, tmp_path / "b", other)
    put(build, tmp_path / "c", struct)
    plans = take_inventory(tmp_path).plans
    assert names(plans) == {
        frozenset({"a/RTDOSE12.dcm", "c/RTSTRUCT10.dcm"}),
        frozenset({"b/RTSTRUCT20.dcm"}),  # listed, so that it is refused with a reason
    }


def test_a_dose_without_references_takes_what_lies_beside_it(build, tmp_path):
    struct, plan, _ = set_of(build, 10)
    dose = build.rtdose(number=12, plan=None, frame=None)
    other_study = build.rtplan(number=30)
    other_study.StudyInstanceUID = build.uid("another study")[:20] + "1"
    put(build, tmp_path, struct, plan, dose, other_study)
    plans = take_inventory(tmp_path).plans
    assert frozenset({"RTSTRUCT10.dcm", "RTPLAN11.dcm", "RTDOSE12.dcm"}) in names(plans)
    assert frozenset({"RTPLAN30.dcm"}) in names(plans)


def test_every_total_is_a_plan(build, tmp_path):
    """Two doses of one plan, each of which is a whole course, are two answers."""
    struct, plan, dose = set_of(build, 10)
    again = build.rtdose(number=13, plan=plan.SOPInstanceUID, frame=build.uid("5.10"))
    put(build, tmp_path, struct, plan, dose, again)
    assert names(take_inventory(tmp_path).plans) == {
        frozenset({"RTSTRUCT10.dcm", "RTPLAN11.dcm", f"RTDOSE{n}.dcm"}) for n in (12, 13)
    }


def test_slices_go_with_the_series_that_the_contours_name(build, tmp_path):
    struct, plan, dose = set_of(build, 10)
    image = [build.ct_slice(3.0 * i, number=f"40{i}") for i in range(3)]
    put(build, tmp_path / "plan", struct, plan, dose)
    put(build, tmp_path / "plan", *image)
    (found,) = take_inventory(tmp_path).plans
    assert [f for f in found.files if "/CT" in f] == [f"plan/CT40{i}.dcm" for i in range(3)]


def test_zip_files_texts_and_other_objects(build, tmp_path):
    put(build, tmp_path / "plan", *set_of(build, 10))
    with zipfile.ZipFile(tmp_path / "more.zip", "w") as target:
        target.writestr("a", b"b")
    (tmp_path / "notes.txt").write_text("nothing", encoding="utf-8")
    (tmp_path / ".hidden").write_text("nothing", encoding="utf-8")
    (tmp_path / ".cache").mkdir()
    put(build, tmp_path / ".cache", *set_of(build, 20))
    picture = build.ct_slice(0.0, number=50)
    picture.SOPClassUID = "1.2.840.10008.5.1.4.1.1.7"  # a secondary capture
    build.save(picture, tmp_path / "picture.dcm")
    found = take_inventory(tmp_path)
    assert [plan.archive for plan in found.plans] == [None, "more.zip"]
    assert (found.files, found.not_dicom) == (6, 1)


def test_a_damaged_file_stays_in_the_list(build, tmp_path):
    struct, plan, dose = set_of(build, 10)
    put(build, tmp_path, struct, plan, dose)
    path = tmp_path / "RTDOSE12.dcm"
    path.write_bytes(path.read_bytes()[:700])
    found = take_inventory(tmp_path)
    assert any("RTDOSE12.dcm" in plan.files for plan in found.plans)


def test_a_folder_that_cannot_be_listed_is_counted(build, tmp_path, monkeypatch):
    put(build, tmp_path / "open", *set_of(build, 10))
    (tmp_path / "closed").mkdir()
    real = os.scandir

    def scandir(path):
        if str(path).endswith("closed"):
            raise PermissionError(13, "Permission denied")
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    found = take_inventory(tmp_path)
    assert found.unreadable == 1
    assert len(found.plans) == 1


def test_a_file_that_cannot_be_opened_is_counted(build, tmp_path, monkeypatch):
    import cordgap.dicom.inventory as inventory

    put(build, tmp_path, *set_of(build, 10))
    real = inventory.head_of

    def head_of(path):
        if path.name.startswith("RTPLAN"):
            raise PermissionError(13, "Permission denied")
        return real(path)

    monkeypatch.setattr(inventory, "head_of", head_of)
    found = take_inventory(tmp_path)
    assert (found.unreadable, found.files) == (1, 3)


def test_what_is_no_file_and_no_folder_is_passed_over(build, tmp_path):
    put(build, tmp_path, *set_of(build, 10))
    try:
        (tmp_path / "nowhere").symlink_to(tmp_path / "missing")
    except OSError:
        pytest.skip("links cannot be made here")
    assert take_inventory(tmp_path).files == 3


def test_progress_is_told_every_hundred_files(tmp_path):
    for number in range(230):
        (tmp_path / f"{number:03d}.txt").write_bytes(b"x")
    told = []
    take_inventory(tmp_path, progress=told.append)
    assert told == [100, 200]
