"""The demo plans are complete, small, and say what an analysis of them must find."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pydicom
import pytest

from cordgap.dicom.read import read_case

PLANS = Path(__file__).parents[2] / "plans"
NAMES = ("coverage-first", "cord-first", "ring")
SIZE_LIMIT_BYTES = 8_000_000


def expected(name: str) -> dict[str, Any]:
    text = (PLANS / name / "README.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^Expected:\n\n```toml\n(.*?)^```$", text, flags=re.M | re.S)
    assert len(blocks) == 1, "one Expected: block a README"
    return tomllib.loads(blocks[0])


def datasets(name: str) -> list[pydicom.Dataset]:
    return [pydicom.dcmread(file) for file in sorted((PLANS / name).glob("*.dcm"))]


def test_the_plans_are_the_ones_listed_and_small():
    folders = sorted(p.name for p in PLANS.iterdir() if p.is_dir())
    assert folders == sorted(NAMES)
    size = sum(f.stat().st_size for f in PLANS.rglob("*") if f.is_file())
    assert size < SIZE_LIMIT_BYTES


def test_no_importable_code_in_plans():
    assert not list(PLANS.rglob("*.py"))


@pytest.mark.parametrize("name", NAMES)
def test_readme_block_is_complete_and_consistent(name):
    block = expected(name)
    metric, limit = block["cord_goal"].split("<=")
    assert metric == "D0.035cc[Gy]"
    assert block["cord_verdict"] == ("met" if block["cord_gy"] <= float(limit) else "exceeded")
    at_least = float(block["coverage_goal"].split(">=")[1])
    covered = block["coverage_percent"] >= at_least
    assert block["coverage_verdict"] == ("met" if covered else "exceeded")
    both = block["cord_verdict"] == block["coverage_verdict"] == "met"
    assert block["exit_code"] == (0 if both else 1)
    assert block["question"] == ("as planned" if block["cord_verdict"] == "met" else "re-planned")
    low, high = block["required_separation_mm_min"], block["required_separation_mm_max"]
    assert 0 < low < block["required_separation_mm_truth"] < high


@pytest.mark.parametrize("name", NAMES)
def test_dicom_is_complete_and_anonymous(name):
    found = datasets(name)
    kinds = [ds.Modality for ds in found]
    assert {k: kinds.count(k) for k in set(kinds)} == {
        "CT": 49, "RTSTRUCT": 1, "RTPLAN": 1, "RTDOSE": 1,
    }  # fmt: skip
    assert {str(ds.PatientName) for ds in found} == {"CORDGAP^PHANTOM"}
    assert len({ds.StudyInstanceUID for ds in found}) == 1
    assert len({ds.FrameOfReferenceUID for ds in found}) == 1
    block = expected(name)
    plan = next(ds for ds in found if ds.Modality == "RTPLAN")
    assert plan.DoseReferenceSequence[0].TargetPrescriptionDose == block["prescription_gy"]
    assert plan.FractionGroupSequence[0].NumberOfFractionsPlanned == block["fractions"]


def test_the_plans_are_different_patients():
    studies = {datasets(name)[0].StudyInstanceUID for name in NAMES}
    patients = {datasets(name)[0].PatientID for name in NAMES}
    assert len(studies) == len(patients) == len(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_the_reader_takes_the_folder_without_options(name):
    case = read_case(PLANS / name)
    block = expected(name)
    assert case.prescription is not None and case.dose is not None and case.image is not None
    assert case.prescription.dose_gy == block["prescription_gy"]
    assert case.prescription.fractions == block["fractions"]
    assert {"gtv", "cord", "cord_prv", "canal", "body"} == {s.role for s in case.structures}
    assert all(s.status == "ok" for s in case.structures)
    # The optimised plans peak at 125 to 140 % of the prescription.
    assert 1.2 < case.dose.values.max() / block["prescription_gy"] < 1.45


def test_the_ring_is_contoured_as_outer_and_inner():
    case = read_case(PLANS / "ring")
    middle = min(case.structure("GTV").planes, key=lambda plane: abs(plane.z_mm))
    assert len(middle.contours) > 1


@pytest.mark.parametrize("name", NAMES)
def test_the_image_fits_the_contours(name):
    case = read_case(PLANS / name)
    assert case.image is not None
    grid, hu = case.image.geometry, case.image.values
    cord = case.structure("SpinalCord")
    for plane in cord.planes[::8]:
        (x0, y0), (x1, y1) = plane.contours[0].min(axis=0), plane.contours[0].max(axis=0)
        x, y = (x0 + x1) / 2, (y0 + y1) / 2
        box = grid.slices_around([x - 2, y - 2, plane.z_mm], [x + 2, y + 2, plane.z_mm], pad=0)
        assert 25 < hu[box].mean() < 65  # cord tissue, neither CSF nor bone
