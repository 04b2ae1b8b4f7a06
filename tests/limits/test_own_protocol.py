"""Tables of one's own: what they inherit, what they change, their units, their schema."""

from __future__ import annotations

import ast
import json
import tomllib
from pathlib import Path

import jsonschema
import pytest

import cordgap
from cordgap.errors import ProtocolError
from cordgap.limits import protocol as module
from cordgap.limits.protocol import available_protocols, find_row, load_protocol
from cordgap.limits.rules import read_table
from cordgap.report.schema import load_schema

HEAD = """[protocol]
id = "our-hospital"
title = "Our rules"
inherit = "hytec-2021"
site = "Our hospital"
date = 2026-11-21
citation = "Work instruction 12"
no_doi = "in-house"
"""
STRICTER = """[[constraint]]
id = "hytec_cord_2"
limit = 1600
unit = "cGy"
level = "institutional"
verified = "primary"
"""
NEW = """[[constraint]]
id = "ours_prv_2"
structure = "cord_prv"
fractions = 2
metric_source = "Dmax"
metric = "D0.035cc[Gy]"
surrogate = true
limit = 17
unit = "Gy"
level = "institutional"
verified = "primary"
"""


def load(folder: Path, text: str):
    path = folder / "mine.toml"
    path.write_text(text, encoding="utf-8")
    return load_protocol(path)


def test_rows_are_inherited_changed_and_added(tmp_path):
    table = load(tmp_path, HEAD + STRICTER + NEW)
    base = {row.id: row for row in load_protocol("hytec-2021").constraints}
    rows = {row.id: row for row in table.constraints}
    assert list(rows) == [*base, "ours_prv_2"]
    assert (table.inherits, table.site, table.date) == ("hytec-2021", "Our hospital", "2026-11-21")
    kept = set(base) - {"hytec_cord_2"}
    assert all(rows[name] == base[name] for name in kept)
    changed = rows["hytec_cord_2"]
    assert (changed.limit, changed.unit, changed.fractions) == (16.0, "Gy", 2)
    # The number is no longer the source's, nor is what the source says about it.
    assert changed.source == "Work instruction 12"
    assert (changed.doi, changed.endpoint, changed.url) == (None, None, None)


def test_a_changed_number_must_say_whether_it_was_seen(tmp_path):
    with pytest.raises(ProtocolError, match=r"row 'hytec_cord_2': key 'verified' is missing"):
        load(tmp_path, HEAD + STRICTER.replace('verified = "primary"\n', ""))


def test_a_changed_number_must_stand_beside_its_unit(tmp_path):
    with pytest.raises(ProtocolError, match=r"row 'hytec_cord_2': key 'unit' is missing"):
        load(tmp_path, HEAD + STRICTER.replace('unit = "cGy"\n', "").replace("1600", "16"))


def test_the_range_of_the_source_does_not_stay_on_a_changed_number(tmp_path):
    text = STRICTER.replace("hytec_cord_2", "hytec_cord_1_lo").replace("1600", "1100")
    row = next(r for r in load(tmp_path, HEAD + text).constraints if r.id == "hytec_cord_1_lo")
    assert (row.limit, row.limit_low, row.limit_high) == (11.0, None, None)


def test_a_remark_alone_keeps_the_source(tmp_path):
    text = HEAD + '[[constraint]]\nid = "hytec_cord_2"\nnote = "Agreed by the spine board."\n'
    row = next(r for r in load(tmp_path, text).constraints if r.id == "hytec_cord_2")
    assert row.note == "Agreed by the spine board."
    assert row.doi == "10.1016/j.ijrobp.2019.09.038"
    assert row.verified == "primary"


def test_rows_are_dropped(tmp_path):
    table = load(tmp_path, HEAD + 'drop = ["hytec_cord_1_lo"]\n')
    assert table.fractions == (2, 3, 4, 5)
    with pytest.raises(ProtocolError, match="hytec-2021 has no row 'hytec_cord_9'"):
        load(tmp_path, HEAD + 'drop = ["hytec_cord_9"]\n')


def test_without_a_citation_inherited_rows_keep_theirs(tmp_path):
    bare = HEAD.replace('citation = "Work instruction 12"\nno_doi = "in-house"\n', "")
    table = load(tmp_path, bare)
    assert table.constraints == load_protocol("hytec-2021").constraints


@pytest.mark.parametrize("unit", ["Gy", "cGy"])
def test_units_are_explicit_and_the_same_limit(tmp_path, unit):
    number = "17" if unit == "Gy" else "1700"
    text = HEAD + NEW.replace("limit = 17", f"limit = {number}").replace('"Gy"\n', f'"{unit}"\n')
    row = load(tmp_path, text).constraints[-1]
    assert (row.limit, row.unit) == (pytest.approx(17.0), "Gy")


def test_rows_are_found_by_name():
    row, table = find_row("tg101_cord_1_12", load_protocol())
    assert (row.verified, table) == ("unverified", "aapm-tg101-2010")
    with pytest.raises(ProtocolError, match="no constraint table has a row 'nothing'"):
        find_row("nothing", load_protocol())


# --- the schema for editors ---


def validate(text: str) -> None:
    document = json.loads(json.dumps(tomllib.loads(text), default=str))
    jsonschema.Draft202012Validator(load_schema("table")).validate(document)


def test_the_schema_has_the_keys_of_the_reader():
    schema = load_schema("table")["properties"]
    assert set(schema["protocol"]["properties"]) == set(module._PROTOCOL_KEYS)
    row = schema["constraint"]["items"]["properties"]
    assert set(row) == set(module._ROW_KEYS)
    for name, key in module._ROW_KEYS.items():
        assert not key.allowed or set(row[name]["enum"]) == set(key.allowed)
    assert set(schema["protocol"]["properties"]["inherit"]["enum"]) == set(available_protocols())


@pytest.mark.parametrize("name", available_protocols())
def test_the_schema_accepts_the_tables_of_the_package(name):
    validate((Path(module.__file__).parent / "tables" / f"{name}.toml").read_text("utf-8"))


def test_the_schema_accepts_what_the_reader_accepts():
    validate(HEAD + STRICTER + NEW)
    validate(HEAD + 'drop = ["hytec_cord_2"]\n')


@pytest.mark.parametrize(
    "text",
    [
        HEAD.replace('inherit = "hytec-2021"\n', ""),
        HEAD.replace('inherit = "hytec-2021"\n', "") + STRICTER,
        HEAD.replace("hytec-2021", "tg-101"),
        HEAD + NEW.replace("limit =", "limit_gy ="),
        HEAD + STRICTER.replace('unit = "cGy"\n', ""),
        HEAD + NEW.replace('"Gy"\n', '"gray"\n'),
        HEAD + NEW.replace('id = "ours_prv_2"\n', ""),
    ],
)
def test_the_schema_refuses_what_the_reader_refuses(tmp_path, text):
    with pytest.raises(jsonschema.ValidationError):
        validate(text)
    with pytest.raises(ProtocolError):
        load(tmp_path, text)


# --- numbers live in the tables ---


def limits_of_tables() -> set[float]:
    """Numbers that nobody writes by chance: limits with a decimal, and the odd ones."""
    found = {
        value
        for name in available_protocols()
        for row in load_protocol(name).constraints
        for value in (row.limit, row.limit_high)
        if value is not None and value != int(value) and value > 1
    }
    nieder = read_table("reirradiation", "hytec-2021")["nieder"]
    risk = read_table("risk", "spinal-cord")
    found |= {nieder["small_risk_bed_gy"]}
    return found | {x["eqd2_gy"] for x in risk["threshold"]}


def test_no_number_of_a_table_stands_in_the_code():
    odd = limits_of_tables()
    assert {12.4, 20.3, 21.9, 25.3, 135.5, 59.3} <= odd
    for path in Path(cordgap.__file__).parent.rglob("*.py"):
        if path.parent.name == "phantom":  # sizes of a made vertebra
            continue
        numbers = {
            node.value
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
            if isinstance(node, ast.Constant) and type(node.value) in (int, float)
        }
        assert not numbers & odd, f"{path.name}: {sorted(numbers & odd)}"


def test_every_condition_and_series_is_cited():
    table = read_table("reirradiation", "hytec-2021")
    assert table["source"]["doi"].startswith("10.")
    cited = [table["nieder"], table["recovery"], *table["series"], *table["alpha_beta"]]
    cited += [table["prior_range"]]
    risk = read_table("risk", "spinal-cord")
    cited += [risk["region"], *risk["threshold"], *risk["incidence"], risk["not_offered"]]
    for part in cited:
        assert len(part["citation"]) > 15
        assert part["verified"] == "primary"
    assert all(c["verified"] == "primary" for c in table["condition"])
