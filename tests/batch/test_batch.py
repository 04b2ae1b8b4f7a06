"""A batch: every plan of a messy tree once, resumed by content, with what it came to."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile

import jsonschema
import pydicom
import pytest

from cordgap.analysis import analyze
from cordgap.batch import engine, work
from cordgap.batch.work import WorkSettings
from cordgap.dicom.inventory import take_inventory
from cordgap.dicom.read import read_case
from cordgap.report.schema import load_schema
from cordgap.separation.learned import read_falloff


def cli(*words, key, timeout=120):
    done = subprocess.run(
        [sys.executable, "-c", "from cordgap.cli.main import run; run()", *map(str, words)],
        capture_output=True,
        encoding="utf-8",
        env={**os.environ, "CORDGAP_SITE_KEY": str(key)},
        timeout=timeout,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


@pytest.fixture(scope="module")
def first(site, written, tmp_path_factory):
    """One run of the command with two workers."""
    folder = tmp_path_factory.mktemp("db")
    words = ["batch", written, "--db", folder / "r.duckdb", "--jobs", "2"]
    return folder, cli(*words, "--places", folder / "places.csv", key=folder / "site.key")


def test_a_tree_of_good_and_bad_plans(site, first):
    folder, (code, out, err) = first
    assert code == 4, err
    assert "3 plan(s): 2 ok, 1 refused, 0 failed, 0 timeout" in out
    db = folder / "r.duckdb"
    assert site.count(db) == 3
    status = dict(site.rows(db, "SELECT status, count(*) FROM plans GROUP BY ALL"))
    assert status == {"ok": 2, "refused": 1}
    assert site.rows(db, "SELECT code FROM plans WHERE status = 'refused'")[0][0]
    assert site.rows(db, "SELECT state, found, ok, refused, exit_code FROM runs") == [
        ("complete", 3, 2, 1, 4)
    ]


def test_numbers_are_those_of_analyze(site, first, written):
    result = analyze(read_case(written / "Jones"))
    found = site.rows(
        first[0] / "r.duckdb",
        "SELECT s.separation_mm, s.required_separation_mm, s.cord_d0035cc_gy, s.make_mm "
        "FROM separations s WHERE s.separation_mm > 0.5",
    )
    s = result.separation
    cord = next(x for x in result.structures if x.structure.role == "cord")
    d0035 = cord.metrics["D0.035cc[Gy]"].value
    # Rows hold four digits.
    assert found == [
        pytest.approx((s.separation_mm, s.required_separation_mm, d0035, s.make_mm), abs=1e-4)
    ]
    # Of one survey with the separation, the same to four digits.
    alone = read_falloff(read_case(written / "Jones"))
    assert site.rows(
        first[0] / "r.duckdb",
        "SELECT cord_fraction, gradient_per_mm, covers FROM falloff WHERE separation_mm > 0.5",
    ) == [
        (
            pytest.approx(alone.cord_fraction, abs=1e-4),
            pytest.approx(alone.gradient_per_mm, abs=1e-4),
            alone.covers,
        )
    ]
    plans = sum(len(x.metrics) for x in result.structures)
    assert site.count(first[0] / "r.duckdb", "metrics") == 2 * plans


def test_no_name_gets_into_the_store(first):
    folder, (_, out, err) = first
    data = (folder / "r.duckdb").read_bytes()
    for word in ("Smith", "Jones", "PAT-A", "PAT-B", "PAT-C", "RD.dcm", "CORDGAP^PHANTOM"):
        assert word.encode() not in data
        assert word not in out + err
    # The user's own list says where things are, and nobody else can read it.
    places = folder / "places.csv"
    assert "Smith^Ann" in places.read_text("utf-8")
    if os.name == "posix":
        assert places.stat().st_mode & 0o077 == 0
        assert (folder / "site.key").stat().st_mode & 0o077 == 0


def test_a_second_run_analyses_nothing(site, first, written, here, monkeypatch):
    folder, _ = first
    key = (folder / "site.key").read_text().strip()
    monkeypatch.setattr(site, "KEY", key)
    monkeypatch.setattr(engine, "analyse_plan", None)
    again = site.run(written, folder / "r.duckdb")
    assert (again.known, again.analysed, again.exit_code) == (3, 0, 4)
    assert site.count(folder / "r.duckdb") == 3


def test_only_what_changed_is_analysed_and_the_old_is_kept(quick, tree, tmp_path):
    db, here = tmp_path / "r.duckdb", quick
    here.run(tree, db)
    file = tree / "Jones" / "a" / "b" / "RS.dcm"
    ds = pydicom.dcmread(file)
    ds.StructureSetLabel = "again"  # another content under the same UIDs
    ds.save_as(file)
    summary = here.run(tree, db)
    assert (summary.known, summary.analysed) == (2, 1)
    assert (here.count(db), here.count(db, "all_plans")) == (3, 4)
    assert (here.count(db, "structures"), here.count(db, "all_structures")) == (4, 6)
    settings = WorkSettings(constraints=("D0.035cc[Gy]<=10",))
    summary = here.run(tree, db, settings=settings)
    # What is refused is refused anew: the settings are part of every key.
    assert (summary.known, summary.analysed) == (0, 3)
    assert (here.count(db), here.count(db, "all_plans")) == (3, 7)
    # With the first settings again the results of then count again, and nothing is analysed.
    summary = here.run(tree, db)
    assert (summary.known, summary.analysed) == (3, 0)
    assert (here.count(db), here.count(db, "all_plans")) == (3, 7)
    first = "SELECT DISTINCT json_extract(settings, '$.constraints')::VARCHAR FROM plans"
    assert here.rows(db, first) == [("[]",)]


def test_results_of_an_older_version_are_told_apart(quick, tree, tmp_path, monkeypatch):
    db, here = tmp_path / "r.duckdb", quick
    monkeypatch.setattr(work, "__version__", "0.0.9")
    here.run(tree, db)
    monkeypatch.setattr(work, "__version__", "0.1.0")
    summary = here.run(tree, db)
    assert (summary.known, summary.analysed) == (0, 3)
    assert here.count(db) == 3
    kept = here.rows(db, "SELECT cordgap_version, count(*) FROM all_plans GROUP BY ALL")
    assert dict(kept)["0.0.9"] == 3
    assert here.rows(db, "SELECT count(*) FROM plans WHERE cordgap_version = '0.0.9'") == [(0,)]
    assert (here.count(db, "structures"), here.count(db, "all_structures")) == (4, 8)


def test_copies_and_zips_and_names_without_extension(quick, written, tmp_path):
    here = quick
    root = tmp_path / "mess"
    good = written / "Smith^Ann" / "export"
    (root / "flat").mkdir(parents=True)
    for file in good.iterdir():
        shutil.copy(file, root / "flat" / file.stem)  # no extension
    for file in (written / "Jones" / "a" / "b").iterdir():  # two patients in one folder
        shutil.copy(file, root / "flat" / f"x{file.name}")
    shutil.copytree(good, root / "copy")
    with zipfile.ZipFile(root / "plan.zip", "w") as archive:
        for file in (written / "bad").iterdir():
            archive.write(file, f"deep/{file.name}")
    with zipfile.ZipFile(root / "empty.zip", "w") as archive:
        archive.writestr("readme.txt", "nothing")
    db = tmp_path / "r.duckdb"
    summary = here.run(root, db)
    assert (summary.analysed, summary.copies, summary.empty_archives) == (3, 1, 1)
    assert summary.counts == {"ok": 2, "refused": 1}
    assert here.count(db) == 3
    again = here.run(root, db)
    assert (again.known, again.analysed, again.copies) == (3, 0, 1)


def test_files_spread_over_folders_find_each_other(written, tmp_path):
    root = tmp_path / "spread"
    for number, folder in enumerate(("Smith^Ann/export", "Jones/a/b")):
        for file in (written / folder).iterdir():
            place = root / file.stem
            place.mkdir(parents=True, exist_ok=True)
            shutil.copy(file, place / str(number))
    plans = take_inventory(root).plans
    assert sorted(plan.files for plan in plans) == [
        ("RD/0", "RP/0", "RS/0"),
        ("RD/1", "RP/1", "RS/1"),
    ]


def test_a_dose_that_cannot_be_read_makes_one_row_and_comes_back(quick, written, tmp_path):
    root, db = tmp_path / "damaged", tmp_path / "r.duckdb"
    shutil.copytree(written / "Jones", root / "one")
    shutil.copytree(written / "Smith^Ann", root / "two")
    file = next((root / "one").rglob("RD.dcm"))
    whole = file.read_bytes()
    file.write_bytes(whole[:400])
    assert quick.run(root, db).counts == {"ok": 1, "refused": 1}
    assert quick.count(db) == 2
    file.write_bytes(whole)
    assert quick.run(root, db).counts == {"ok": 2}
    assert (quick.count(db), quick.rows(db, "SELECT DISTINCT status FROM plans")) == (2, [("ok",)])


@pytest.mark.skipif(sys.platform != "linux", reason="file names of any bytes")
def test_names_that_are_no_text(quick, written, tmp_path):
    root = tmp_path / "odd"
    root.mkdir()
    shutil.copytree(written / "Jones", os.fsdecode(os.fsencode(root) + b"/M\xfcller"))
    summary = quick.run(root, tmp_path / "r.duckdb")
    assert summary.counts == {"ok": 1}
    assert quick.run(root, tmp_path / "r.duckdb").known == 1


def test_a_plan_without_dose_is_refused_and_not_passed_over(here, written, tmp_path):
    root = tmp_path / "nodose"
    shutil.copytree(written / "Jones", root)
    next(root.rglob("RD.dcm")).unlink()
    summary = here.run(root, tmp_path / "r.duckdb")
    assert summary.counts == {"refused": 1}
    assert summary.exit_code == 2
    assert here.rows(tmp_path / "r.duckdb", "SELECT code FROM plans") == [("rtdose-missing",)]


def test_limit_and_since_and_dry_run(quick, tree, tmp_path):
    here = quick
    db = tmp_path / "r.duckdb"
    dry = here.run(tree, db, dry_run=True)
    assert (dry.analysed, here.count(db), here.count(db, "runs")) == (3, 0, 0)
    one = here.run(tree, db, limit=1)
    assert (one.analysed, one.left, here.count(db)) == (1, 2, 1)
    rest = here.run(tree, db)
    assert (rest.analysed, rest.known, here.count(db)) == (2, 1, 3)


def test_since_leaves_out_what_is_older(tree, tmp_path):
    for file in (tree / "Jones").rglob("*.dcm"):
        os.utime(file, (0, 1_000_000_000))
    key = tmp_path / "site.key"
    words = ["batch", tree, "--db", tmp_path / "r.duckdb", "--dry-run", "--json"]
    code, out, err = cli(*words, "--since", "2020-01-01", key=key)
    assert code == 0, err
    document = json.loads(out)
    jsonschema.validate(document, load_schema("batch"))
    assert document["plans_found"] == 2
    assert not (tmp_path / "r.duckdb").exists()
    code, _, err = cli(*words, "--since", "yesterday", key=key)
    assert code == 2
    assert "expected a date" in err


def test_nothing_to_do_is_said(tmp_path):
    (tmp_path / "none").mkdir()
    key = tmp_path / "site.key"
    code, out, _ = cli("batch", tmp_path / "none", "--db", tmp_path / "r.duckdb", key=key)
    assert code == 2
    assert "no plan was found" in out
    code, _, err = cli("batch", tmp_path / "no", "--db", tmp_path / "r.duckdb", key=key)
    assert code == 2
    assert "no such folder" in err


@pytest.mark.parametrize(
    ("counts", "exceeded", "code"),
    [
        ({"ok": 2}, 0, 0),
        ({"ok": 2}, 1, 1),
        ({"ok": 2, "refused": 1}, 1, 4),
        ({"ok": 2, "failed": 1}, 0, 4),
        ({"ok": 2, "timeout": 1}, 0, 4),
        ({"refused": 1}, 0, 2),
        ({}, 0, 2),
    ],
)
def test_exit_codes(counts, exceeded, code):
    summary = engine.Summary("x", 3, 0, 3, 0, 0, counts, exceeded, "complete")
    assert summary.exit_code == code
