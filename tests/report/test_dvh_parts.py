"""What ``cordgap dvh`` adds to its document and writes as CSV."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace

import jsonschema
import numpy as np
import pytest

from cordgap.dvh.comparison import compare_presets
from cordgap.dvh.dose_surface import compute_dose_surface
from cordgap.dvh.indices import compute_indices
from cordgap.dvh.metrics import parse_metric
from cordgap.dvh.presets import Rules, compute_under, find_preset
from cordgap.phantom import spine_case
from cordgap.report import dvh_parts as parts
from cordgap.report.schema import load_schema
from cordgap.report.tables import dvh_document, to_json

METRICS = (parse_metric("D0.035cc[Gy]"), parse_metric("V100%[%]"))
NAMES = ("SpinalCord", "GTV")


@pytest.fixture(scope="module")
def case():
    return spine_case()


@pytest.fixture(scope="module")
def computed(case):
    return compute_under(case, Rules(), metrics=METRICS, names=NAMES, rx_gy=24.0)


@pytest.fixture(scope="module")
def surfaces(case, computed):
    return [compute_dose_surface(Rules().solid(r.structure), case.dose) for r in computed]


def validate(case, results, **extras):
    document = json.loads(to_json(dvh_document(case, results, extras=extras)))
    jsonschema.Draft202012Validator(load_schema("dvh")).validate(document)
    return document


def test_comparison(case, computed):
    found = compare_presets(case, computed, Rules(), metrics=METRICS, rx_gy=24.0)
    document = validate(case, computed, comparison=parts.comparison_part(found))["comparison"]
    assert [p["name"] for p in document["presets"]][:2] == ["Eclipse", "RayStation"]
    assert document["rules"] == {
        "between": "shape",
        "ends": "half-slice",
        "max_cap_mm": None,
        "caps_have_dose": True,
    }
    assert len(document["rows"]) == len(NAMES) * (1 + len(METRICS))
    for row in document["rows"]:
        for values in row["presets"].values():
            difference = values["value"] - row["value"]
            assert values["difference"] == pytest.approx(difference, abs=1.1e-4)
    eclipse = document["presets"][0]
    assert eclipse["differing_rules"][0]["rule"].startswith("ends: a rounded cap")


def test_comparison_of_what_cannot_be_computed(case, computed):
    bare = replace(case, dose=None)
    results = compute_under(bare, Rules(), metrics=METRICS, names=NAMES)
    found = compare_presets(bare, results, Rules(), metrics=METRICS)
    rows = validate(bare, results, comparison=parts.comparison_part(found))["comparison"]["rows"]
    assert (rows[1]["value"], rows[1]["reason"]) == (None, "no dose")
    assert rows[1]["presets"]["MIM"]["difference"] is None


def test_indices(case, computed):
    solids = [Rules().solid(r.structure) for r in computed]
    found = [
        compute_indices(r, s, case.dose, rx_gy=24.0) for r, s in zip(computed, solids, strict=True)
    ]
    listed = [parts.indices_part(r.structure, x) for r, x in zip(computed, found, strict=True)]
    cord, target = validate(case, computed, indices=listed)["indices"]
    assert cord["conformity"] is None
    assert cord["conformity_reason"] == "not a target"
    assert cord["geud_a"] == 20
    total = target["conformity"]["total"]
    isodose, half = target["conformity"]["isodoses"]
    assert (isodose["dose_gy"], half["dose_gy"]) == (24, 12)
    volume = target["conformity"]["target_cc"]
    assert total["ci_rtog"] == pytest.approx(isodose["total_cc"] / volume, abs=1e-4)
    assert isodose["plus_minus_cc"] > 0


def test_indices_without_a_dose(case):
    bare = replace(case, dose=None)
    results = compute_under(bare, Rules(), metrics=METRICS, names=NAMES)
    listed = [parts.indices_part(r.structure, compute_indices(r, None, None)) for r in results]
    found = validate(bare, results, indices=listed)["indices"]
    assert all(x["near_max"]["reason"] == "no dose" for x in found)


def test_surfaces(case, computed, surfaces):
    listed = [parts.surface_part(r.structure, x) for r, x in zip(computed, surfaces, strict=True)]
    listed.append(parts.surface_part(computed[0].structure, None, "no dose"))
    found = validate(case, computed, dose_surfaces=listed)["dose_surfaces"]
    assert found[0]["histogram"]["area_cm2"][0] == pytest.approx(found[0]["area_cm2"], abs=1e-3)
    assert found[0]["histogram"]["area_cm2"][-1] == 0
    assert (found[2]["area_cm2"], found[2]["reason"]) == (None, "no dose")


def test_preset(case, computed):
    found = validate(case, computed, preset=parts.preset_part(find_preset("ProKnow")))["preset"]
    assert found["rules"]["max_cap_mm"] == 1.5


def test_unknown_key_is_refused(case, computed):
    with pytest.raises(jsonschema.ValidationError, match="surprise"):
        validate(case, computed, surprise=1)


def rows_of(text):
    return list(csv.DictReader(io.StringIO(text, newline="")))


def test_curves(computed):
    rows = rows_of(parts.curves_csv(computed))
    assert {r["roi_name"] for r in rows} == set(NAMES)
    for result in computed:
        mine = [r for r in rows if r["roi_name"] == result.structure.roi_name]
        doses = np.array([float(r["dose_gy"]) for r in mine])
        volumes = np.array([float(r["volume_cc"]) for r in mine])
        np.testing.assert_allclose(np.diff(doses), parts.CSV_STEP_GY, atol=1e-9)
        assert volumes[0] == pytest.approx(result.volume_cc, abs=1e-6)
        assert volumes[-1] == 0
        assert float(mine[0]["volume_percent"]) == 100
        exact = [result.dvh.volume_at_least_cc(d) for d in doses[1::50]]
        np.testing.assert_allclose(volumes[1::50], exact, atol=2e-6, rtol=1e-4)
        assert "area_cm2" not in mine[0]


def test_curves_with_surfaces(computed, surfaces):
    rows = rows_of(parts.curves_csv(computed, [surfaces[0], None]))
    cord = [r for r in rows if r["roi_name"] == "SpinalCord"]
    assert float(cord[0]["area_cm2"]) == pytest.approx(surfaces[0].total_area_cm2, abs=1e-4)
    k = len(cord) // 2
    exact = surfaces[0].area_at_least_cm2(float(cord[k]["dose_gy"]))
    assert float(cord[k]["area_cm2"]) == pytest.approx(exact, abs=1e-3)
    assert all(r["area_cm2"] == "" for r in rows if r["roi_name"] == "GTV")


def test_names_are_no_formulas_and_missing_structures_have_no_rows(case, computed):
    odd = replace(computed[0], structure=replace(computed[0].structure, roi_name="=cmd()"))
    none = replace(computed[1], dvh=None)
    rows = rows_of(parts.curves_csv([odd, none]))
    assert {r["roi_name"] for r in rows} == {"'=cmd()"}
