from __future__ import annotations

import re
from pathlib import Path

import pytest

from cordgap.errors import ProtocolError
from cordgap.limits.constraint import Constraint
from cordgap.limits.protocol import (
    CORD_ROLES,
    DEFAULT_PROTOCOL,
    available_protocols,
    load_protocol,
)

PAGE = Path(__file__).parents[2] / "docs" / "protocols.md"

HEAD = """
[protocol]
id = "mine"
title = "My table"
year = 2024
citation = "In-house rules"
no_doi = "in-house"
"""
ROW = """
[[constraint]]
id = "one"
structure = "cord"
fractions = 1
metric_source = "D0.1cc"
metric = "D0.1cc[Gy]"
limit = 10
unit = "Gy"
level = "institutional"
verified = "primary"
"""
GOOD = HEAD + ROW

ALL_ROWS = [
    pytest.param(row, id=row.id)
    for p in available_protocols()
    for row in load_protocol(p).constraints
]


def numbers(protocol: str) -> dict[str, tuple[str, int | None, str, str, float, str]]:
    return {
        c.id: (c.structure, c.fractions, c.metric_source, str(c.metric), c.limit, c.verified)
        for c in load_protocol(protocol).constraints
    }


def test_the_tables_that_come_with_the_package() -> None:
    assert available_protocols() == (
        "aapm-tg101-2010",
        "bmc-cancer-2025",
        "hytec-2021",
        "nccn-lung",
        "norway-canal",
        "quantec-2010",
        "redmond-2016-practice",
        "rtog-0631",
        "sahgal-2012-reirradiation",
        "sahgal-2013-thecal-sac",
        "single-centre-rules",
    )
    assert all(load_protocol(name).id == name for name in available_protocols())
    assert load_protocol().id == DEFAULT_PROTOCOL == "hytec-2021"


def test_ids_are_unique_across_tables() -> None:
    ids = [c.id for p in available_protocols() for c in load_protocol(p).constraints]
    assert len(ids) == len(set(ids))


@pytest.mark.parametrize("row", ALL_ROWS)
def test_every_row_is_cited(row: Constraint) -> None:
    assert (row.doi is None) != (row.no_doi is None)
    assert row.doi is None or row.source.endswith(f", doi:{row.doi}")
    assert len(row.source) > 20
    assert row.verified == "unverified" or row.url


@pytest.mark.parametrize("row", ALL_ROWS)
def test_every_row_says_what_is_evaluated(row: Constraint) -> None:
    assert row.unit == row.metric.unit
    assert row.surrogate == (row.metric_source in ("Dmax", "Pmax"))
    assert not row.surrogate or str(row.metric) == "D0.035cc[Gy]"
    assert (row.segment is not None) == (str(row.metric) == "D10%[Gy]")
    assert row.limit_low is None or row.limit == row.limit_low
    assert (row.limit_low is None) == (row.limit_high is None)


def test_hytec_numbers() -> None:
    assert numbers("hytec-2021") == {
        "hytec_cord_1_lo": ("cord", 1, "Dmax", "D0.035cc[Gy]", 12.4, "primary"),
        "hytec_cord_2": ("cord", 2, "Dmax", "D0.035cc[Gy]", 17.0, "primary"),
        "hytec_cord_3": ("cord", 3, "Dmax", "D0.035cc[Gy]", 20.3, "primary"),
        "hytec_cord_4": ("cord", 4, "Dmax", "D0.035cc[Gy]", 23.0, "primary"),
        "hytec_cord_5": ("cord", 5, "Dmax", "D0.035cc[Gy]", 25.3, "primary"),
    }
    (single,) = load_protocol("hytec-2021").active(1)
    assert (single.limit_low, single.limit_high) == (12.4, 14.0)


def test_thecal_sac_numbers() -> None:
    rows = numbers("sahgal-2013-thecal-sac").values()
    assert [r[4] for r in rows if r[5] == "primary"] == [12.4, 17.0, 20.3, 23.0, 25.3]
    assert {r[0] for r in rows} == {"thecal_sac"}
    recalled = [r for r in rows if r[5] != "primary"]
    assert [(r[1], r[4], r[5]) for r in recalled] == [(1, 10.0, "unverified")]


def test_tg101_cord_numbers() -> None:
    table = load_protocol("aapm-tg101-2010")
    for n, limit in ((1, 14.0), (3, 21.9), (5, 30.0)):
        row = next(c for c in table.for_fractions(n) if c.id == f"tg101_cord_{n}_max")
        assert (row.limit, str(row.metric), row.surrogate) == (limit, "D0.035cc[Gy]", False)
    assert table.fractions == (1, 3, 5) and table.active(2) == ()


def test_other_numbers() -> None:
    assert [(c.limit, c.fractions) for c in load_protocol("quantec-2010").constraints] == [
        (13.0, 1),
        (20.0, 3),
    ]
    rtog = {c.id: (str(c.metric), c.limit) for c in load_protocol("rtog-0631").constraints}
    assert rtog == {
        "rtog0631_cord_max": ("D0.03cc[Gy]", 14.0),
        "rtog0631_cord_10": ("D10%[Gy]", 10.0),
        "rtog0631_cord_035": ("V10Gy[cc]", 0.35),
        "rtog0631_eso_max": ("D0.035cc[Gy]", 16.0),
    }
    ranges = [
        (c.limit, c.limit_high)
        for c in load_protocol("redmond-2016-practice").constraints
        if not c.segment
    ]
    assert ranges == [(10.0, 14.0), (17.0, None), (18.0, 21.0), (23.0, 26.0), (25.0, 30.0)]
    assert {c.level for c in load_protocol("redmond-2016-practice").constraints} == {"practice"}


def test_unverified_rows_are_kept_but_not_used() -> None:
    table = load_protocol("aapm-tg101-2010")
    kept = {c.id for c in table.for_fractions(1)}
    used = {c.id for c in table.active(1)}
    assert kept - used == {"tg101_cord_1_12", "tg101_sacral_1_max", "tg101_sacral_1_5cc"}
    assert {c.id for c in table.active(1, include_unverified=True)} == kept


def test_cord_rows() -> None:
    rows = load_protocol("aapm-tg101-2010").cord_rows(3)
    assert {c.id for c in rows} == {"tg101_cord_3_max", "tg101_cord_3_035", "tg101_cord_3_12"}
    assert all(c.structure in CORD_ROLES for c in rows)


def test_rows_without_fractions_hold_for_any_number(tmp_path: Path) -> None:
    table = load_protocol(write(tmp_path, GOOD.replace("fractions = 1\n", "")))
    assert len(table.active(7)) == 1 and table.fractions == ()


def test_the_example_of_the_page_loads(tmp_path: Path) -> None:
    match = re.search(r"```toml[^\n]*\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.S)
    assert match is not None
    table = load_protocol(write(tmp_path, match[1]))
    assert {c.structure for c in table.constraints} == {"cord_prv", "cord"}
    assert table.active(2) and all(c.source for c in table.constraints)


def test_the_page_names_every_table() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert all(f"`{name}`" in page for name in available_protocols())


def test_unknown_protocol_lists_what_there_is() -> None:
    with pytest.raises(
        ProtocolError, match=r"'tg-101'; available: aapm-tg101-2010, bmc-cancer-2025"
    ):
        load_protocol("tg-101")


@pytest.mark.parametrize("path", ["nowhere.toml", "nowhere/table", Path("nowhere")])
def test_missing_file(path: str | Path) -> None:
    with pytest.raises(ProtocolError, match=r"nowhere.*: no such file"):
        load_protocol(path)


def write(folder: Path, text: str) -> Path:
    path = folder / "mine.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_good_table_loads_by_path_and_by_text(tmp_path: Path) -> None:
    path = write(tmp_path, GOOD)
    assert load_protocol(path) == load_protocol(str(path))
    (row,) = load_protocol(path).constraints
    assert (row.limit, row.source, row.no_doi) == (10.0, "In-house rules", "in-house")


def test_a_row_with_its_own_citation_does_not_inherit_the_doi(tmp_path: Path) -> None:
    head = HEAD.replace('no_doi = "in-house"', 'doi = "10.1000/head"')
    own = 'citation = "Another paper"\ndoi = "10.1000/other"\n'
    (row,) = load_protocol(write(tmp_path, head + ROW + own)).constraints
    assert row.source == "Another paper, doi:10.1000/other"
    with pytest.raises(ProtocolError, match=r"row 'one': key 'doi': found neither"):
        load_protocol(write(tmp_path, head + ROW + 'citation = "Another paper"\n'))


HERE = r"^mine\.toml: \[\[constraint\]\] row 'one': "


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("limit = 10", "limit = ", r"^mine\.toml: this is not TOML in UTF-8: .*line 15"),
        (ROW, "", r"^mine\.toml: there is no row; every row is a table \[\[constraint\]\]"),
        ("[[constraint]]", "[constraint]", r"there is no row"),
        ("[protocol]", "[[protocol]]", r"table \[protocol\] is missing"),
        ("[[constraint]]", "[[limits]]", r"unknown table 'limits'; allowed: \[protocol\]"),
        ('id = "mine"\n', "", r"\[protocol\]: key 'id' is missing; expected a text"),
        ("year = 2024", 'year = "2024"', r"\[protocol\]: key 'year': found '2024', expected"),
        ("year", "yaer", r"\[protocol\]: unknown key 'yaer'; allowed: id, title, year"),
        ("limit =", "limit_gy =", HERE + r"unknown key 'limit_gy'; allowed: .*limit_low"),
        ('id = "one"\n', "", r"row 1: key 'id' is missing"),
        ('id = "one"', 'id = " "', r"key 'id': found ' ', expected a text in quotes"),
        ('unit = "Gy"\n', "", HERE + r"key 'unit' is missing; expected one of Gy, cGy, cc, %"),
        ('unit = "Gy"', 'unit = "cgy"', HERE + r"key 'unit': found 'cgy', expected one of Gy, cGy"),
        ('unit = "Gy"', 'unit = "%"', HERE + r"key 'unit': found '%', expected 'Gy', the unit of"),
        ("limit = 10", "limit = 1700", HERE + r".*found 1700 Gy, .* write unit = .cGy. if"),
        ("limit = 10", "limit = 10\nsegment_beyond_mm = [5]", HERE + r".*without 'segment'"),
        (
            "limit = 10",
            'limit = 10\nsegment = "near"\nsegment_beyond_mm = []',
            HERE + r"key 'segment_beyond_mm': found \[\], expected a list of numbers",
        ),
        ("[protocol]", '[protocol]\ndate = "today"', r"key 'date': found 'today', expected a date"),
        ("[protocol]", '[protocol]\ndrop = ["x"]', r"key 'drop': found without 'inherit'"),
        ("[protocol]", '[protocol]\ninherit = "tg"', r"key 'inherit': found 'tg', expected one of"),
        (
            'unit = "Gy"',
            'unit = "cc"',
            HERE + r"key 'unit': found 'cc', expected 'Gy', the unit of",
        ),
        ('"D0.1cc[Gy]"', '"D0.1cc"', HERE + r"key 'metric': cannot read the metric: found the end"),
        ('"D0.1cc[Gy]"', '"D0.1cc[cGy]"', HERE + r"key 'metric': .*found 'c', expected Gy or %"),
        ('"D0.1cc[Gy]"', '"Max[Gy]"', HERE + r"key 'metric': found 'Max\[Gy\]'; a point maximum"),
        ('= "D0.1cc"', '= "Dmax"', HERE + r"key 'metric': found 'D0.1cc\[Gy\]'; a point maximum"),
        (
            'metric_source = "D0.1cc"\nmetric = "D0.1cc[Gy]"',
            'metric_source = "Max point dose"\nmetric = "D0.035cc[Gy]"',
            HERE + r"key 'surrogate': metric_source is 'Max point dose'; .* surrogate = true",
        ),
        (
            "limit = 10",
            'limit = 10\nsurrogate = "yes"',
            r"key 'surrogate': found 'yes', expected tr",
        ),
        (
            "limit = 10",
            "limit = true",
            HERE + r"key 'limit': found True, expected a number above 0",
        ),
        ("limit = 10", "limit = -10", HERE + r"key 'limit': found -10, expected a number above 0"),
        ("limit = 10", "limit = nan", HERE + r"key 'limit': found nan, expected a number above 0"),
        ("limit = 10", "limit = inf", HERE + r"key 'limit': found inf, expected a number above 0"),
        ("limit = 10", 'limit = "10 Gy"', HERE + r"key 'limit': found '10 Gy', expected a number"),
        (
            "limit = 10",
            "limit = 10\nlimit_low = 11",
            HERE + r"key 'limit': found 10, expected a va",
        ),
        (
            "limit = 10",
            "limit = 10\nlimit_high = 9",
            HERE + r"key 'limit': found 10, expected a va",
        ),
        (
            "fractions = 1",
            "fractions = 1.5",
            HERE + r"key 'fractions': found 1.5, expected a whole",
        ),
        ("fractions = 1", "fractions = 0", HERE + r"key 'fractions': found 0, expected a whole"),
        (
            '"cord"',
            '"SpinalCord"',
            HERE + r"key 'structure': found 'SpinalCord', .* cord, cord_prv",
        ),
        ('"institutional"', '"soft"', HERE + r"key 'level': found 'soft', expected one of limit,"),
        ('= "primary"', '= "yes"', HERE + r"key 'verified': found 'yes', expected one of primary,"),
        (
            'no_doi = "in-house"\n',
            "",
            HERE + r"key 'doi': found neither, expected either doi or no",
        ),
        ("no_doi =", 'doi = "10.1000/x"\nno_doi =', HERE + r"key 'doi': found both"),
        (
            'no_doi = "in-house"',
            'doi = "doi.org/x"',
            HERE + r"key 'doi': found 'doi.org/x', expect",
        ),
        ("limit = 10", 'limit = 10\ndoi = "10.1000/x"', HERE + r"key 'doi': found without a citat"),
        (ROW, ROW + ROW, HERE + r"key 'id': used twice"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert old in GOOD
    path = write(tmp_path, GOOD.replace(old, new, 1))
    with pytest.raises(ProtocolError, match=message):
        load_protocol(path)


def test_a_file_that_is_not_text(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_bytes(b"\xff\xfe\x00DICM")
    with pytest.raises(ProtocolError, match=r"^mine\.toml: this is not TOML in UTF-8"):
        load_protocol(path)
