"""Previous radiation in every output: JSON by its schema, text, page, PDF, picture."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import jsonschema
import pytest

from cordgap.analysis import Settings, analyze
from cordgap.case.prior import PriorCourse
from cordgap.phantom import prior_dose, spine_case
from cordgap.report.document import document_pdf
from cordgap.report.page import page_html
from cordgap.report.reirradiation import level_lines, reirradiation_lines, risk_lines, risk_summary
from cordgap.report.reirradiation_figure import draw_reirradiation
from cordgap.report.schema import load_schema
from cordgap.report.sentence import answer_sentence, summary_text
from cordgap.report.tables import analysis_document, separation_document, to_json

INJECTION = "<script>alert(1)</script>"


@pytest.fixture(scope="module")
def found():
    """A phantom with half a dose file of an odd name, with a number, and without any."""
    case = spine_case(image=False)
    slim = replace(case, structures=tuple(s for s in case.structures if s.role in ("cord", "gtv")))
    half = prior_dose(slim, up_to_mm=0.0)
    priors = {
        "half": PriorCourse(10, dose=half, interval_months=9.0, source=INJECTION),
        "number": PriorCourse(10, dose_gy=30.0, interval_months=9.0, source="30 Gy"),
    }
    results = {
        name: analyze(replace(slim, priors=(prior,)), Settings(recovery=True))
        for name, prior in priors.items()
    }
    return results | {"none": analyze(slim)}


@pytest.mark.parametrize("name", ["half", "number", "none"])
def test_documents_keep_their_schemas(found, name):
    for document in (analysis_document(found[name]), separation_document(found[name])):
        read = json.loads(to_json(document))
        schema = load_schema(read["schema"].removeprefix("cordgap.").partition("/")[0])
        jsonschema.Draft202012Validator(schema).validate(read)
        assert (read["reirradiation"] is None) == (name == "none")
        assert (read["reirradiation_reason"] is None) == (name != "none")
        assert (read["risk"]["reason"] is None) == (name == "none")


def test_the_histogram_is_that_of_the_whole_cord(found):
    part = analysis_document(found["number"])["reirradiation"]["cord"]
    volumes = part["eqd2_dvh"]["volume_cc"]
    assert volumes == sorted(volumes, reverse=True)
    assert part["covered_fraction"] == 1.0
    # Nothing got less than the 37.5 Gy EQD2 of the previous course.
    steps = dict(zip(part["eqd2_dvh"]["dose_gy"], volumes, strict=True))
    assert steps[37.0] == pytest.approx(volumes[0])
    half = analysis_document(found["half"])["reirradiation"]["cord"]
    assert 0.4 < half["covered_fraction"] < 0.6


def test_text(found):
    text = "\n".join(reirradiation_lines(found["number"]))
    assert "on SpinalCord, in place of the thecal sac" in text
    assert "compared with no limit" in text
    assert "after previous radiation" in answer_sentence(found["number"])
    assert "previous radiation" not in summary_text(found["none"])
    assert max(map(len, summary_text(found["number"]).splitlines())) <= 100


def test_levels_that_are_not_known_come_as_one_run(found):
    lines = level_lines(found["half"].reirradiation)
    assert sum("does not cover" in line for line in lines) == 1
    assert 1 < len(lines) <= 9


@pytest.mark.parametrize("name", ["half", "number", "none"])
def test_page_and_pdf(found, name):
    result = found[name]
    page = page_html(result)
    assert INJECTION not in page
    assert ('id="previous-radiation"' in page) == (name != "none")
    assert 'id="risk"' in page
    pages, without = (
        len(re.findall(rb"/Type /Page\b", document_pdf(x)))
        for x in (result, replace(result, reirradiation=None))
    )
    assert pages - without == (0 if name == "none" else 1)


def test_the_picture_shows_what_is_not_known(found):
    figure = draw_reirradiation(found["half"].reirradiation)
    left, right = figure.axes
    names = [text.get_text() for text in left.get_legend().get_texts()]
    assert [name.split(" ")[0] for name in names] == ["previous", "new", "together"]
    assert all("% known" in names[i] for i in (0, 2))
    assert any("not known" in text.get_text() for text in right.texts)


def test_risk_never_says_more_than_five_percent_of_a_model(found):
    for lines in (risk_summary(found["none"].risk), risk_lines(found["none"].risk)[:3]):
        text = " ".join(lines).split(" Seen: ")[0]
        assert "5 % region" in text
        assert all(float(number) <= 5 for number in re.findall(r"([\d.]+) ?%", text))
