"""A self-test that cannot fail shows nothing: each kind of fault is put in and must be seen."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from functools import partial

import jsonschema
import numpy as np
import pytest

from cordgap.check import selftest as values
from cordgap.check.selftest import LIMITS, PARTS, Row, Selftest, groups
from cordgap.dicom.geometry import FrameStack
from cordgap.dvh.curve import DVH
from cordgap.export.plan import ORIENTATIONS
from cordgap.limits import checksums
from cordgap.phantom.bodies import hollow_cord, linear, nelms_bodies, own_cords
from cordgap.report.schema import load_schema
from cordgap.report.selftest import missed_line, selftest_document, selftest_text
from cordgap.report.selftest_pdf import selftest_pdf
from cordgap.selftest import accuracy, distances, exchange, orientation, run
from cordgap.selftest.rows import Known, attempt

THIN, _, _, _, BENT = own_cords()


def missed(rows):
    return {row.limit_id for row in rows if not row.passed}


def cord(folder, body=THIN, position="HFS", engines=("numpy",)):
    return accuracy._cord(body, position, folder, engines)


def position(folder, name="HFS", sextant="left anterolateral"):
    return orientation._in_position(Known("orientation", "test", name), sextant, folder)


def few(monkeypatch):
    """Leave a few cases of each part, so that the whole runs in seconds."""
    monkeypatch.setattr(run, "accuracy_rows", lambda f, e: iter(cord(f)))
    monkeypatch.setattr(run, "orientation_rows", lambda f: iter(position(f)))
    monkeypatch.setattr(distances, "_GAPS_MM", (0.4,))
    monkeypatch.setattr(exchange, "_WAYS", ((16, False),))


# --- nothing is wrong ---


@pytest.fixture(scope="module")
def short():
    with pytest.MonkeyPatch.context() as patch:
        few(patch)
        return run.run_selftest()


def test_passes_and_says_on_what(short):
    assert short.passed, [missed_line(row) for row in short.failed]
    assert short.exit_code == 0
    assert {row.part for row in short.rows} == set(PARTS)
    assert short.versions["numpy"] == np.__version__
    assert short.platform["python"] == sys.version.split()[0]
    document = selftest_document(short)
    jsonschema.Draft202012Validator(load_schema("selftest")).validate(document)
    assert document["verdict"] == "passed"
    assert "self-test passed" in selftest_text(short)


def test_every_row_names_a_limit_with_its_source(short):
    known = {limit.id for limit in LIMITS}
    assert {row.limit_id for row in short.rows} <= known
    assert all(limit.source for limit in LIMITS)
    assert len(known) == len(LIMITS)


@pytest.mark.parametrize("name", sorted(set(ORIENTATIONS) - {"HFS"}))
def test_every_position_passes(tmp_path, name):
    rows = position(tmp_path, name, "right posterolateral")
    assert not missed(rows), [missed_line(r) for r in rows if not r.passed]


@pytest.mark.parametrize("body", [BENT, hollow_cord()], ids=lambda b: b.name)
def test_cords_pass_with_both_engines(tmp_path, body):
    pytest.importorskip("numba")
    rows = cord(tmp_path, body, "FFDL", ("numpy", "compiled"))
    assert not missed(rows), [missed_line(r) for r in rows if not r.passed]
    assert {row.engine for row in rows} == {"numpy", "compiled", None}


def test_bodies_that_close_pass(tmp_path):
    cone = nelms_bodies(12.0)[3]
    assert not missed(accuracy._closing(cone, tmp_path, ("numpy",)))


def test_exact_ring_is_what_is_left_between_two_cylinders():
    """In a dose along the ring itself the hottest volume is a slab at its end: a closed form."""
    ring, field = hollow_cord(), linear(2)
    area = np.pi * (5.2**2 - 2.1**2)
    assert ring.volume_cc == pytest.approx(area * 45 / 1000, rel=1e-9)
    # The dose is 40 Gy at the middle of a body; 1 Gy/mm.
    assert ring.exact(field, 1.0) == pytest.approx(40 + 22.5 - 1000 / area, abs=1e-6)
    assert ring.exact_mean(field) == pytest.approx(40.0, abs=1e-9)


# --- something is wrong ---


def test_a_dose_one_percent_too_high_is_seen(monkeypatch, tmp_path):
    right = accuracy.compute_dvh

    def wrong(*arguments, **options):
        dvh = right(*arguments, **options)
        return DVH(
            1.01 * dvh.dose_gy, dvh.volume_cc, dvh.total_volume_cc, dvh.min_gy, 1.01 * dvh.mean_gy,
            dvh.max_gy,
        )  # fmt: skip

    monkeypatch.setattr(accuracy, "compute_dvh", wrong)
    assert missed(cord(tmp_path)) == {"cord-near-maximum", "cord-dose"}


def test_a_dose_shifted_by_little_more_than_a_tenth_of_a_millimetre_is_seen(monkeypatch, tmp_path):
    right = accuracy.read_case

    def wrong(folder):
        case = right(folder)
        g = case.dose.geometry
        moved = type(g)(g.x_mm + 0.11, g.y_mm, g.z_mm)
        return replace(case, dose=type(case.dose).from_array(moved, case.dose.values))

    monkeypatch.setattr(accuracy, "read_case", wrong)
    assert "cord-dose" in missed(cord(tmp_path))


def test_a_cord_a_tenth_of_a_percent_too_large_is_seen(monkeypatch, tmp_path):
    right = accuracy.compute_dvh
    monkeypatch.setattr(
        accuracy,
        "compute_dvh",
        lambda *a, **o: replace(d := right(*a, **o), total_volume_cc=1.001 * d.total_volume_cc),
    )
    assert "cord-volume" in missed(cord(tmp_path))


def test_a_compiled_loop_that_differs_is_seen():
    found = [{"Mean": 40.0}, {"Mean": 40.001}]
    assert missed(accuracy._agreement(Known("accuracy", "x"), found)) == {"engines"}


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_dose_flipped_along_an_axis_is_seen(monkeypatch, tmp_path, axis):
    right = FrameStack.to_patient
    monkeypatch.setattr(FrameStack, "to_patient", lambda s, b: np.flip(right(s, b), axis))
    found = missed(position(tmp_path, "HFP"))
    assert "point-dose" in found
    assert "point-hu" in found
    assert missed(cord(tmp_path, BENT))


def test_left_and_right_exchanged_everywhere_are_seen(monkeypatch, tmp_path):
    """Contours and dose mirrored together, so that every dose stays what it is."""
    right = orientation.read_case

    def wrong(folder):
        case = right(folder)
        planes = [
            tuple(replace(p, contours=tuple(c * [-1.0, 1.0] for c in p.contours)) for p in s.planes)
            for s in case.structures
        ]
        pairs = zip(case.structures, planes, strict=True)
        return replace(case, structures=tuple(replace(s, planes=p) for s, p in pairs))

    monkeypatch.setattr(orientation, "read_case", wrong)
    rows = position(tmp_path)
    found = {row.quantity: row.found for row in rows if not row.passed}
    assert found["sextant of the smallest gap"] == "right anterolateral"
    assert found["sextant with most to remove"] == "right anterolateral"


def test_a_wrong_word_for_the_position_is_seen(monkeypatch, tmp_path):
    right = orientation.read_case
    monkeypatch.setattr(
        orientation, "read_case", lambda f: replace(right(f), patient_position="FFS")
    )
    assert missed(position(tmp_path)) == {"equal"}


def test_a_gap_measured_wrongly_is_seen(monkeypatch, tmp_path):
    from cordgap.separation import anatomy

    right = anatomy.measure_gap

    def wrong(*pair):
        gap = right(*pair)
        return replace(gap, separation_mm=gap.separation_mm + 0.06)

    monkeypatch.setattr(anatomy, "measure_gap", wrong)
    rows = distances._ring(0.4, Known("separation", "x"), tmp_path)
    assert missed(rows) == {"gap"}


def test_a_region_written_too_small_is_seen(monkeypatch, tmp_path):
    right = distances.write_rtstruct
    monkeypatch.setattr(distances, "write_rtstruct", lambda r, f, at_mm: right(r, f, at_mm=2.9))
    monkeypatch.setattr(distances, "_DERIVED_NAME", "CG_Resect_2.9mm")
    rows = distances._ring(0.4, Known("separation", "x"), tmp_path)
    (row,) = [row for row in rows if not row.passed]
    assert (row.part, row.limit_id) == ("round trip", "resection")


def test_a_rounded_dose_is_seen(monkeypatch, tmp_path):
    right = exchange.read_case

    def wrong(folder):
        case = right(folder)
        rounded = np.round(case.dose.values, 2)
        return replace(case, dose=type(case.dose).from_array(case.dose.geometry, rounded))

    monkeypatch.setattr(exchange, "read_case", wrong)
    monkeypatch.setattr(exchange, "_WAYS", ((32, False),))
    assert missed(exchange.exchange_rows(tmp_path)) == {"dose-sample"}


def test_tables_changed_added_and_gone_are_told_apart(monkeypatch):
    right = checksums.table_sums()
    changed = dict(right)
    changed["hytec-2021.toml"] = "0" * 64
    del changed["quantec-2010.toml"]
    changed["ours.toml"] = "1" * 64
    monkeypatch.setattr(checksums, "table_sums", lambda: changed)
    rows = {row.subject: row for row in run.table_rows()}
    bad = {name.rpartition("/")[2]: row for name, row in rows.items() if not row.passed}
    assert set(bad) == {"hytec-2021.toml", "quantec-2010.toml", "ours.toml"}
    assert bad["hytec-2021.toml"].expected == right["hytec-2021.toml"]
    assert "not there" in bad["quantec-2010.toml"].reason
    assert "not recorded" in bad["ours.toml"].reason


def test_the_record_of_the_tables_is_up_to_date():
    """``make checksums`` after a table was changed on purpose."""
    states = {table.name: table.state for table in checksums.compare_tables()}
    assert len(states) > 10
    assert set(states.values()) == {"as recorded"}


def test_line_ends_do_not_count(monkeypatch, tmp_path):
    (tmp_path / "tables").mkdir()
    digests = []
    for ends in (b"\n", b"\r\n"):
        (tmp_path / "tables" / "a.toml").write_bytes(ends.join([b"id = 'a'", b"x = 1", b""]))
        monkeypatch.setattr(checksums, "files", lambda _: tmp_path)
        digests.append(checksums.table_sums())
    assert digests[0] == digests[1]
    assert digests[0].keys() == {"a.toml"}


def test_an_exception_is_a_row_that_failed(monkeypatch, tmp_path):
    def broken(*_, **__):
        raise ZeroDivisionError("numpy of another world")

    monkeypatch.setattr(accuracy, "compute_dvh", broken)
    (row,) = attempt(Known("accuracy", "cord"), partial(cord, tmp_path))
    assert not row.passed
    assert row.reason == "ZeroDivisionError: numpy of another world"
    assert "numpy of another world" in missed_line(row)


def test_a_value_that_is_no_number_fails():
    row = Known("accuracy", "x").number(
        "Mean[Gy]", float("nan"), 1.0, limit=1.0, limit_id="cord-dose", unit="mm"
    )
    assert not row.passed


def test_a_part_without_rows_fails(short):
    some = tuple(row for row in short.rows if row.part != "tables")
    assert not replace(short, rows=some).passed


# --- what is printed ---


def failed(short: Selftest) -> Selftest:
    row = Row(
        "accuracy", "cord thin, 1 Gy/mm along x", "Mean[Gy]", "cord-dose", passed=False,
        expected=40.0, found=40.4, error=0.4, limit=0.1, unit="mm", position="HFS", engine="numpy",
    )  # fmt: skip
    return replace(short, rows=(*short.rows, row))


def test_a_miss_is_in_every_output(short):
    result = failed(short)
    document = json.loads(json.dumps(selftest_document(result), allow_nan=False))
    jsonschema.Draft202012Validator(load_schema("selftest")).validate(document)
    assert (document["verdict"], document["missed"], document["exit_code"]) == ("failed", 1, 1)
    text = selftest_text(result)
    assert "self-test failed" in text
    assert "found 40.4, expected 40: off by 0.400 mm, limit 0.1 mm" in text
    (group,) = [g for g in groups(result.rows) if g.failed]
    assert group.worst.error == 0.4


def test_pdf_is_the_same_twice_and_signed_by_people(short, debian, tmp_path):
    import subprocess

    assert selftest_pdf(short) == selftest_pdf(replace(short, seconds=99.0))
    file = tmp_path / "selftest.pdf"
    file.write_bytes(selftest_pdf(failed(short), date="2026-11-21"))
    program = debian("pdftotext", "poppler-utils")
    done = subprocess.run([program, "-layout", file, "-"], capture_output=True, check=True)
    words = done.stdout.decode("utf-8")
    for expected in ("Failed: ", "2026-11-21", "Signature", "Run by (name)", "hytec-2021.toml",
                     "off by 0.400 mm", np.__version__, "docs/validation.md"):  # fmt: skip
        assert expected in words
    assert b"2026-11-21" not in selftest_pdf(short)


def call(monkeypatch, capsys, *words):
    from cordgap.cli.main import run as entry

    monkeypatch.setattr(sys, "argv", ["cordgap", "selftest", *map(str, words)])
    with pytest.raises(SystemExit) as stop:
        entry()
    return stop.value.code or 0, *capsys.readouterr()


def test_command(monkeypatch, capsys, tmp_path):
    few(monkeypatch)
    code, out, _ = call(monkeypatch, capsys, "--json", "--pdf", tmp_path / "Prüf ung.pdf")
    assert code == 0
    assert json.loads(out)["verdict"] == "passed"
    assert (tmp_path / "Prüf ung.pdf").read_bytes().startswith(b"%PDF")
    sums = checksums.table_sums() | {"hytec-2021.toml": "0" * 64}
    monkeypatch.setattr(checksums, "table_sums", lambda: sums)
    code, out, _ = call(monkeypatch, capsys)
    assert code == 1
    assert "hytec-2021.toml" in out


def test_command_refuses_a_date_without_a_pdf_or_that_is_none(monkeypatch, capsys, tmp_path):
    code, _, err = call(monkeypatch, capsys, "--date", "2026-11-21")
    assert (code, "give --pdf" in err) == (2, True)
    code, _, err = call(monkeypatch, capsys, "--date", "21.11.", "--pdf", tmp_path / "x.pdf")
    assert (code, "expected year-month-day" in err) == (2, True)
    assert not (tmp_path / "x.pdf").exists()


def test_the_limit_of_a_dose_is_that_of_the_validation():
    """0.03 mm or 0.5 %, whichever is wider, and never more than 0.1 mm."""
    assert values.cord_dose_limit_mm(2.0) == 0.03
    assert values.cord_dose_limit_mm(10.0) == pytest.approx(0.05)
    assert values.cord_dose_limit_mm(40.0) == 0.1
