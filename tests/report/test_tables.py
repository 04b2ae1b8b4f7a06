from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest

from cordgap.analysis import CaseResult, Settings, analyze
from cordgap.case.case import Prescription
from cordgap.dvh.metrics import parse_goal
from cordgap.errors import DicomError, Finding, OptionError
from cordgap.limits.protocol import available_protocols, load_protocol
from cordgap.phantom import SpineDose, spine_case
from cordgap.report.schema import load_schema, schema_names
from cordgap.report.sheets import csv_texts, write_csv
from cordgap.report.tables import (
    analysis_document,
    check_document,
    error_document,
    protocols_document,
    separation_document,
    to_json,
)

NAMES = (
    "coverage-first", "cord-first", "ring", "no dose", "no prescription", "no target", "odd names",
)  # fmt: skip


def validate(document: dict[str, Any]) -> dict[str, Any]:
    """Check the text of a document against its schema."""
    read: dict[str, Any] = json.loads(to_json(document))
    name = document["schema"].removeprefix("cordgap.").partition("/")[0]
    jsonschema.Draft202012Validator(load_schema(name)).validate(read)
    return read


@pytest.mark.parametrize("name", schema_names())
def test_schemas_are_valid(name: str) -> None:
    jsonschema.Draft202012Validator.check_schema(load_schema(name))


def test_unknown_schema_lists_the_names() -> None:
    with pytest.raises(OptionError, match="available: analysis, batch"):
        load_schema("nothing")


@pytest.mark.parametrize("name", NAMES)
def test_documents_validate(results: dict[str, CaseResult], name: str) -> None:
    result = results[name]
    document = validate(analysis_document(result))
    validate(document["dvh"])
    separation = validate(separation_document(result))
    if result.separation is not None:
        assert document["separation"] == separation
    else:
        assert document["separation"] is None
        assert document["separation_reason"]
        assert (separation["status"], separation["separation_mm"]) == ("not evaluable", None)
        assert separation["reason"] == result.separation_reason


def test_plus_minus_is_listed_by_part(result: CaseResult) -> None:
    """The parts add up to it; they are rounded to four decimals each."""
    structures = analysis_document(result)["dvh"]["structures"]
    metrics = [m for s in structures for m in s["metrics"].values() if m["plus_minus"] is not None]
    assert metrics
    for metric in metrics:
        parts = metric["plus_minus_parts"]
        assert list(parts) == ["dose_grid", "quadrature", "end_caps", "between_planes"]
        assert sum(parts.values()) == pytest.approx(metric["plus_minus"], abs=3e-4)


def test_no_plus_minus_has_no_parts(results: dict[str, CaseResult]) -> None:
    structures = analysis_document(results["no dose"])["dvh"]["structures"]
    metrics = [m for s in structures for m in s["metrics"].values()]
    assert metrics
    assert all((m["plus_minus"], m["plus_minus_parts"]) == (None, None) for m in metrics)


@pytest.mark.parametrize("verdict", ["pending", "Met", None])
def test_schema_refuses_an_unknown_verdict(result: CaseResult, verdict: str | None) -> None:
    document = analysis_document(result)
    document["constraints"][0]["verdict"] = verdict
    with pytest.raises(jsonschema.ValidationError):
        validate(document)


def test_schema_refuses_a_key_that_is_not_described(result: CaseResult) -> None:
    with pytest.raises(jsonschema.ValidationError, match="surprise"):
        validate(analysis_document(result) | {"surprise": 1})


def test_numbers_are_those_of_the_result(result: CaseResult) -> None:
    document = analysis_document(result)
    s, expected = document["separation"], result.separation
    assert expected is not None
    for key in ("separation_mm", "required_separation_mm", "additional_mm", "make_mm"):
        assert s[key] == pytest.approx(getattr(expected, key), abs=1e-4)  # 4 decimals
    row = document["constraints"][0]
    assert row["headroom"] == pytest.approx(row["limit"] - row["value"], abs=2e-4)
    assert row["cord_plus_margin"]["margin_mm"] == 1.5
    assert {"level", "source", "verified", "surrogate"} <= set(row)


def test_histogram_is_in_steps_and_starts_with_the_covered_volume(result: CaseResult) -> None:
    for s in analysis_document(result)["dvh"]["structures"]:
        doses, volumes = np.array(s["dvh"]["dose_gy"]), np.array(s["dvh"]["volume_cc"])
        assert volumes[0] == s["volume_in_dose_grid_cc"]
        assert volumes[-1] == 0
        assert np.all(np.diff(volumes) <= 0)
        assert np.allclose(np.diff(doses), 0.1)
        assert doses[-1] <= s["max_gy"] + 0.4  # bin and step beyond the maximum


def test_map_is_null_where_the_target_is_far(result: CaseResult) -> None:
    gaps = analysis_document(result)["separation"]["map"]
    assert result.separation is not None
    far = ~np.isfinite(result.separation.map.gap_mm)
    assert far.any()
    assert np.array_equal(np.array(gaps["gap_mm"], dtype=object) == None, far)  # noqa: E711
    assert "20 mm" in gaps["reason"]


def test_identity_only_if_asked(results: dict[str, CaseResult]) -> None:
    result = results["odd names"]
    assert "Doe" not in to_json(analysis_document(result))
    assert analysis_document(result, identify=True)["case"]["identity"] == {"name": "Doe^Jane"}


def test_safety_stands_in_every_document(result: CaseResult) -> None:
    for document in (analysis_document(result), separation_document(result), check_document([])):
        assert any("does not decide" in line for line in document["safety"])


@pytest.mark.parametrize(
    ("severities", "verdict"),
    [
        ([], "usable"),
        (["info"], "usable"),
        (["info", "warning"], "usable with warnings"),
        (["warning", "error"], "refused"),
    ],
)
def test_check_document(result: CaseResult, severities: list[Any], verdict: str) -> None:
    findings = [Finding("some-code", "some words", severity=s) for s in severities]
    document = check_document(findings, used=result.case.inputs, ignored=[("a.txt", "not DICOM")])
    assert validate(document)["verdict"] == verdict


def test_error_document() -> None:
    document = validate(error_document(DicomError("no RTSTRUCT in the folder")))
    told = {k: v for k, v in document["error"].items() if v is not None}
    assert told == {
        "type": "DicomError",
        "code": "file-refused",
        "message": "no RTSTRUCT in the folder",
    }
    assert "secret" not in to_json(error_document(ValueError("secret")))


def test_protocols_document() -> None:
    document = validate(protocols_document([load_protocol(p) for p in available_protocols()]))
    assert {p["id"] for p in document["protocols"]} == set(available_protocols())


def test_a_number_that_is_not_finite_is_refused() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        to_json({"value": float("nan")})


def test_nan_becomes_null(result: CaseResult) -> None:
    assert result.separation is not None
    broken = replace(result.separation, overlap_cc=float("nan"))
    assert separation_document(replace(result, separation=broken))["overlap_cc"] is None


def test_tables_import_neither_matplotlib_nor_jinja2() -> None:
    code = "import sys, cordgap.report.tables, cordgap.report.sentence, cordgap.report.write\n"
    heavy = ("matplotlib", "jinja2", "pydicom", "contourpy", "skimage", "trimesh")
    code += f"print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_csv_holds_the_numbers_of_the_json(result: CaseResult, tmp_path: Path) -> None:
    document = analysis_document(result)
    paths = write_csv(result, tmp_path)
    assert {p.name for p in paths} == {
        "dvh.csv", "metrics.csv", "constraints.csv", "separation_curve.csv", "sextants.csv",
        "schedules.csv", "highest_doses.csv",
    }  # fmt: skip
    data = (tmp_path / "constraints.csv").read_bytes()
    assert data.count(b"\r\n") == data.count(b"\n")
    assert b"\r\r\n" not in data
    rows = list(csv.DictReader(io.StringIO(data.decode("utf-8"), newline="")))
    assert float(rows[0]["value"]) == document["constraints"][0]["value"]
    text = (tmp_path / "separation_curve.csv").read_bytes().decode("utf-8")
    curve = list(csv.DictReader(io.StringIO(text, newline="")))
    assert float(curve[3]["D98%[Gy]"]) == document["separation"]["curve"][3]["metrics"]["D98%[Gy]"]


def test_csv_defuses_names_that_are_formulas(results: dict[str, CaseResult]) -> None:
    sheets = csv_texts(analysis_document(results["odd names"]))
    names = {row[1] for row in csv.reader(io.StringIO(sheets["metrics.csv"], newline=""))}
    assert "'=cmd|' /C calc'!A0" in names
    assert not any(name.startswith("=") for name in names)


def test_sextants_and_tables_are_in_the_document(results: dict[str, CaseResult]) -> None:
    for name in ("coverage-first", "cord-first", "ring"):
        s = validate(analysis_document(results[name]))["separation"]
        total = sum(x["resection_cc"] for x in s["sextants"])
        assert total == pytest.approx(s["resection_cc"], abs=4e-6)  # 6 decimals each
        assert s["worst_levels_mm"]
        low, high = s["binding_levels"][0]["z_mm"]
        assert low < high
        gaps = [g for row in s["map"]["gap_mm"] for g in row if g is not None]
        assert min(gaps) == pytest.approx(s["separation_mm"], abs=0.05)
        assert len(s["map"]["centre_mm"]) == len(s["map"]["level_mm"])
        shown_rows = {(x["separation_mm"], x["fractions"]) for x in s["highest_doses"]}
        assert shown_rows >= {(mm, n) for mm in (0, 1, 2, 3, 4, 5) for n in (1, 2, 3, 5)}
        for x in s["highest_doses"]:
            assert (x["dose_gy"] is None) == (x["interval_gy"] is None)
            assert x["dose_gy"] is not None or x["reason"]


def test_what_stands_in_the_way_and_derived_limits_validate() -> None:
    """A cord goal that is broken, the front alone within reach, and six fractions."""
    case = spine_case(dose=SpineDose(cord_edge_gy=20.0), image=False)
    settings = Settings(
        reachable=("posterior",),
        prescription=Prescription(24.0, 6, "option"),
        constraints=(parse_goal("D0.035cc[Gy]<=17"),),
        coverage=(parse_goal("D98%[%]>=85"),),
    )
    s = validate(separation_document(analyze(case, settings)))
    assert s["status"] == "not reachable"
    assert "anterior" in [x["name"] for x in s["in_the_way"]]
    assert s["required_separation_mm"] is None
    assert s["everywhere_interval_mm"][0] <= s["everywhere_mm"] <= s["everywhere_interval_mm"][1]
    assert [x["name"] for x in s["sextants"] if x["reachable"]] == ["posterior"]
    own = settings.prescription.fractions if settings.prescription else 0
    assert all(x["derived_from"] is None for x in s["schedules"] if x["fractions"] == own)
    protocol = replace(settings, constraints=(), reachable=())
    rows = validate(separation_document(analyze(case, protocol)))["highest_doses"]
    origin = next(x for x in rows if x["fractions"] == own)["derived_from"]
    assert (origin["constraint_id"], origin["alpha_beta_gy"]) == ("hytec_cord_5", 2.0)


def test_sheets_of_sextants_and_schedules(result: CaseResult) -> None:
    document = analysis_document(result)
    sheets = csv_texts(document)
    s = document["separation"]
    for name, rows in (
        ("sextants.csv", s["sextants"]),
        ("schedules.csv", s["schedules"]),
        ("highest_doses.csv", s["highest_doses"]),
    ):
        read = list(csv.DictReader(io.StringIO(sheets[name])))
        assert len(read) == len(rows)
    first = next(
        r for r in csv.DictReader(io.StringIO(sheets["highest_doses.csv"])) if r["dose_gy"]
    )
    match = next(x for x in s["highest_doses"] if x["dose_gy"] is not None)
    low, high = match["interval_gy"]
    assert (float(first["interval_low_gy"]), float(first["interval_high_gy"])) == (low, high)


def test_json_alone_imports_no_drawing() -> None:
    code = (
        "import sys\n"
        "from cordgap.cli.main import run\n"
        "try:\n    run()\n"
        "except SystemExit:\n    pass\n"
        "late = ('matplotlib', 'jinja2', 'contourpy', 'http.server')\n"
        "print([m for m in late if m in sys.modules], file=sys.stderr)"
    )
    plan = Path(__file__).parents[2] / "plans" / "cord-first"
    done = subprocess.run(
        [sys.executable, "-c", code, "analyze", str(plan), "--json", "-q"],
        capture_output=True, encoding="utf-8", check=True,
    )  # fmt: skip
    assert json.loads(done.stdout)["schema"] == "cordgap.analysis/1"
    assert done.stderr.strip().splitlines()[-1] == "[]"
