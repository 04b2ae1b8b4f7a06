from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest

from cordgap.analysis import CaseResult
from cordgap.errors import SAFETY_SENTENCES
from cordgap.report.sentence import (
    LEVEL_NOT_IDENTIFIED,
    answer_sentence,
    binding_words,
    derived_words,
    fraction_words,
    gap_level_mm,
    highest_words,
    level_label,
    summary_text,
)
from cordgap.separation.result import DerivedFrom, HighestDose


def changed(result: CaseResult, **values: Any) -> CaseResult:
    assert result.separation is not None
    return replace(result, separation=replace(result.separation, **values))


def test_what_to_make_comes_first(result: CaseResult) -> None:
    s = result.separation
    assert s is not None
    text = answer_sentence(result)
    assert text.startswith(f"Make {s.make_mm:.1f} mm between tumour and cord (estimate ")
    assert f"{s.required_separation_mm:.1f}, 90 % interval" in text
    assert "for 28 Gy in 2 fractions; there are 0.4 mm now" in text
    assert f"about {s.resection_cc:.1f} cc of tumour" in text


def test_sides_and_named_levels_are_said(results: dict[str, CaseResult]) -> None:
    plan = results["coverage-first"]
    assert answer_sentence(plan).endswith("; anterior and anterolateral on both sides.")
    assert answer_sentence(results["ring"]).endswith("3.0 mm; all round.")
    levels = (("T6", 20.0, 9.0), ("T7", 8.0, -12.0), ("T8", -20.0, -60.0))
    named = replace(plan, settings=replace(plan.settings, levels=levels))
    assert answer_sentence(named).endswith("; T6, T7 anterior and anterolateral on both sides.")


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (
            {"status": "already sufficient", "separation_mm": 6.0},
            "The 6.0 mm between tumour and cord are enough",
        ),
        (
            {"status": "already sufficient", "separation_mm": 2.2},
            "may be enough .* farther: 3.0 mm would be on the safe side",
        ),
        (
            {
                "status": "not reachable within max-mm", "required_separation_mm": None,
                "interval_mm": None, "make_mm": None, "reason": "too steep",
            },
            "No separation up to 10 mm .* is enough for 28 Gy in 2 fractions: too steep; there",
        ),
        (
            {
                "status": "not evaluable", "required_separation_mm": None, "interval_mm": None,
                "make_mm": None, "reason": "no cord goal applies",
            },
            "is not evaluable: no cord goal applies; there are 0.4 mm now",
        ),
        (
            {
                "status": "not reachable", "required_separation_mm": None, "interval_mm": None,
                "make_mm": None, "reason": "2.1 mm would be needed on all sides",
            },
            "Not reachable: no separation between tumour and cord is enough .*: 2.1 mm would be",
        ),
        ({"penetration_mm": 1.3}, "they overlap by 1.3 mm now"),
        ({"target_role": "ctv", "target_roi_name": "CTV_1"}, "between CTV CTV_1 and cord"),
        ({"cord_role": "canal"}, "between tumour and spinal canal"),
        ({"question": "no plan"}, "from a model of published plans"),
        ({"resection_cc": None}, r"now; closer than 2\.0 mm: anterior, left .* posterolateral\.$"),
    ],
)  # fmt: skip
def test_sentence_follows_the_status(
    result: CaseResult, values: dict[str, Any], words: str
) -> None:
    assert re.search(words, answer_sentence(changed(result, **values)))


def test_without_a_separation_the_reason_is_said(results: dict[str, CaseResult]) -> None:
    text = answer_sentence(results["no prescription"])
    assert text == (
        "The required separation for an unknown prescription is not evaluable: the prescription is "
        "not known: give --rx GY and --fractions N, or see the table of schedules; there are "
        "1.0 mm now."
    )


def test_level_is_named_only_by_the_user_or_a_contour(result: CaseResult) -> None:
    z = gap_level_mm(result.separation)
    assert level_label(result, z) == LEVEL_NOT_IDENTIFIED
    named = replace(result, settings=replace(result.settings, levels=(("T7", 8.0, -12.0),)))
    assert level_label(named, z) == "Level T7 (from --level)"
    assert level_label(named, 30.0) == LEVEL_NOT_IDENTIFIED
    vertebra = replace(
        result.case.structures[1],
        roi_name="T8",
        named=replace(result.case.structures[1].named, role="vertebra"),
    )
    case = replace(result.case, structures=(*result.case.structures, vertebra))
    assert level_label(replace(result, case=case), z) == "Level T8 (from vertebra contour)"


@pytest.mark.parametrize("name", ["coverage-first", "cord-first", "ring", "no dose", "no target"])
def test_summary_fits_a_terminal(results: dict[str, CaseResult], name: str) -> None:
    text = summary_text(results[name])
    assert max(map(len, text.splitlines())) <= 100
    assert 10 < len(text.splitlines()) < 68  # the risk takes five of them, the sides one
    assert "\x1b" not in text
    flat = " ".join(text.split())
    assert all(sentence in flat for sentence in SAFETY_SENTENCES)
    assert LEVEL_NOT_IDENTIFIED in text
    assert all(finding.code in text for finding in results[name].warnings)


def test_sextants_that_are_not_cleared_are_said(result: CaseResult) -> None:
    s = result.separation
    assert s is not None
    some = tuple(replace(x, reachable=x.name in ("anterior", "posterior")) for x in s.sextants)
    changed_result = changed(result, sextants=some)
    assert "in the anterior and posterior sextants alone" in answer_sentence(changed_result)
    lines = [x for x in summary_text(changed_result).splitlines() if ", not cleared" in x]
    assert len(lines) == 2
    assert ", not cleared" not in summary_text(result)


def test_levels_that_bind_are_listed(result: CaseResult) -> None:
    s = result.separation
    assert s is not None
    text = binding_words(result)
    for run in s.binding_levels:
        assert f"z {run.z_mm[0]:.1f} to {run.z_mm[1]:.1f} mm (worst z {run.worst_mm:.1f}" in text
    assert LEVEL_NOT_IDENTIFIED in text
    assert "nothing is closer" in binding_words(changed(result, binding_levels=()))
    none = changed(result, required_separation_mm=None, binding_levels=())
    assert "no required separation" in binding_words(none)


def test_table_of_highest_doses_is_in_the_summary(results: dict[str, CaseResult]) -> None:
    for name in ("coverage-first", "cord-first", "no dose"):
        s = results[name].separation
        assert s is not None
        flat = " ".join(summary_text(results[name]).split())
        assert all(highest_words(x) in flat for x in s.highest_doses)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({}, "20.0 (18.0–22.0)"),
        ({"interval_at_least": True}, "20.0 (18.0–22.0+)"),
        ({"interval_gy": (0.0, 22.0)}, "20.0 (to 22.0)"),
        ({"at_least": True}, "≥ 20.0"),
        ({"dose_gy": None, "interval_gy": None}, "–"),
    ],
)
def test_highest_dose_as_words(values: dict[str, Any], words: str) -> None:
    row = HighestDose(3.0, 2, "row", 17.0, 20.0, (18.0, 22.0), False, False)
    assert highest_words(replace(row, **values)) == words


def test_a_converted_limit_is_marked(result: CaseResult) -> None:
    s = result.separation
    assert s is not None
    assert derived_words(s) == ""
    origin = DerivedFrom("hytec_cord_5", 5, 25.3, 2.0)
    rows = (replace(s.highest_doses[0], fractions=6, limit=27.3, derived_from=origin),)
    text = derived_words(replace(s, highest_doses=rows))
    assert "not published: 27.3 Gy in 6 from hytec_cord_5, 25.3 Gy in 5, alpha/beta 2 Gy" in text
    assert fraction_words(rows[0]) == "6 fractions*"
