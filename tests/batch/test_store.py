"""The store: documented, versioned, migrated, asked in four formats."""

from __future__ import annotations

import csv
import io
import json
import re

import duckdb
import jsonschema
import pytest
from docs.site.generated import database_page

from cordgap.batch import store as store_module
from cordgap.batch.pairs import compare_pairs
from cordgap.batch.pseudonym import default_key_file, pseudonym, site_key
from cordgap.batch.store import Store, StoreError
from cordgap.batch.tables import TABLES
from cordgap.errors import OptionError
from cordgap.report.schema import load_schema


@pytest.fixture
def filled(tmp_path):
    """A store of three plans, one of them analysed twice."""
    db = tmp_path / "r.duckdb"

    def rows(plan, result, value):
        name = {"plan_id": plan, "result_id": result}
        head = name | {"status": "ok", "exceeded": value > 2, "analysed_at": "2026-11-21 10:00:00"}
        metrics = [name | {"metric": "Max[Gy]", "value": value, "roi_name": 'a,"b"'}]
        return {"plans": [head], "metrics": metrics}

    with Store(db, site_key="00" * 32) as store:
        store.add([rows("a", "a1", 1.0), rows("b", "b1", 2.0)])
        store.add([rows("a", "a2", 3.0), rows("c", "c1", float("nan"))])
    return db


def test_the_page_describes_every_column():
    page = database_page()
    for table, columns in TABLES.items():
        part = re.search(rf"## {table}\n\n(.*?)\n\n", page, re.S)[1]
        shown = re.findall(r"^\| `(\w+)` \| (\w+) \| (.*) \|$", part, re.M)
        assert shown == [(c.name, c.type, c.meaning) for c in columns]


def test_the_statements_of_the_page_make_an_empty_store():
    statements = re.search(r"```sql\n(.*?)```", database_page(), re.S)[1]
    with duckdb.connect() as database:
        database.execute(statements)
        for table in TABLES:
            assert database.execute(f"SELECT count(*) FROM {table}").fetchone() == (0,)


def test_the_file_has_the_tables_of_the_page(filled):
    with Store(filled, read_only=True) as store:
        for table, columns in TABLES.items():
            names, _ = store.select(f"SELECT * FROM {table}")
            assert names == [c.name for c in columns]


def test_a_superseded_result_is_kept_and_not_counted(filled):
    with Store(filled, read_only=True) as store:
        assert store.select("SELECT plan_id, result_id FROM plans ORDER BY 1")[1] == [
            ("a", "a2"),
            ("b", "b1"),
            ("c", "c1"),
        ]
        assert store.select("SELECT count(*), sum(value) FILTER (NOT isnan(value)) FROM metrics")[
            1
        ] == [(3, 5.0)]
        assert store.select("SELECT count(*) FROM all_metrics")[1] == [(4,)]


def test_an_older_store_is_brought_up_to_date(filled, monkeypatch):
    """A store of version 0, made of one of today by taking away what a migration adds."""
    db = duckdb.connect(str(filled))
    db.execute("DROP VIEW plans")
    for table in TABLES:
        if f"all_{table}" in {r[0] for r in db.execute("SHOW TABLES").fetchall()}:
            db.execute(f"DROP VIEW IF EXISTS {table}")
    db.execute("ALTER TABLE all_falloff DROP COLUMN covers")
    db.execute("UPDATE store SET version = 0")
    db.close()
    steps = {0: ["ALTER TABLE all_falloff ADD COLUMN covers BOOLEAN"]}
    monkeypatch.setattr(store_module, "MIGRATIONS", steps)
    with pytest.raises(StoreError, match="run cordgap batch on it once"):
        Store(filled, read_only=True)
    with Store(filled) as store:
        assert store.select("SELECT version FROM store")[1] == [(1,)]
        assert store.select("SELECT count(*) FROM plans")[1] == [(3,)]
        assert "covers" in store.select("SELECT * FROM falloff")[0]


def test_a_migration_that_fails_leaves_the_store_as_it_was(filled, monkeypatch):
    db = duckdb.connect(str(filled))
    db.execute("UPDATE store SET version = 0")
    db.close()
    steps = {0: ["CREATE TABLE more (x INTEGER)", "SELECT nonsense"]}
    monkeypatch.setattr(store_module, "MIGRATIONS", steps)
    with pytest.raises(StoreError):
        Store(filled)
    db = duckdb.connect(str(filled))
    assert db.execute("SELECT version FROM store").fetchall() == [(0,)]
    assert "more" not in {r[0] for r in db.execute("SHOW TABLES").fetchall()}
    db.close()


SQL = "SELECT plan_id, value, roi_name FROM metrics ORDER BY plan_id"


def query(capsys, *words):
    from typer.testing import CliRunner

    from cordgap.cli.main import build_app

    result = CliRunner().invoke(build_app(["query", "batch"]), ["query", *map(str, words)])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.output


def test_query_formats(filled, tmp_path, capsys):
    text = query(capsys, SQL, "--db", filled, "--format", "csv")
    rows = list(csv.reader(io.StringIO(text)))
    assert rows[:2] == [["plan_id", "value", "roi_name"], ["a", "3.0", 'a,"b"']]
    document = json.loads(query(capsys, SQL, "--db", filled, "--format", "json"))
    jsonschema.validate(document, load_schema("query"))
    assert document["rows"] == [["a", 3.0, 'a,"b"'], ["b", 2.0, 'a,"b"'], ["c", None, 'a,"b"']]
    table = query(capsys, SQL, "--db", filled)
    assert table.splitlines()[0].split() == ["plan_id", "value", "roi_name"]
    file = tmp_path / "it's.parquet"
    query(capsys, SQL, "--db", filled, "--format", "parquet", "--out", file)
    assert duckdb.execute("SELECT count(*) FROM read_parquet(?)", [str(file)]).fetchone() == (3,)


def test_query_refuses_what_it_must(filled, tmp_path, capsys):
    with pytest.raises(OptionError, match="needs --out"):
        query(capsys, SQL, "--db", filled, "--format", "parquet")
    with pytest.raises(StoreError, match="nonsense"):
        query(capsys, "SELECT nonsense FROM plans", "--db", filled)
    with pytest.raises(StoreError, match="read-only"):
        query(capsys, "DELETE FROM all_plans", "--db", filled)
    with pytest.raises(OptionError, match="no such database"):
        query(capsys, SQL, "--db", tmp_path / "no.duckdb")
    with pytest.raises(OptionError, match="give one query"):
        query(capsys, "--db", filled)
    other = tmp_path / "other.duckdb"
    db = duckdb.connect(str(other))
    db.execute("CREATE TABLE x (a INTEGER)")
    db.close()
    with pytest.raises(StoreError, match="no store of cordgap"):
        query(capsys, SQL, "--db", other)


def test_a_lake_counts_every_plan_once_after_every_export(filled, tmp_path, capsys):
    lake = tmp_path / "lake"
    for month in (10, 11):
        with Store(filled) as store:
            store.select(f"UPDATE all_plans SET analysed_at = '2026-{month}-01'")
        query(capsys, "--export", lake, "--db", filled)
        for table, expected in (("plans", 3), ("metrics", 3), ("falloff", 0)):
            files = sorted((lake / table).rglob("*.parquet"))
            assert bool(files) == bool(expected)
            if files:
                found = duckdb.execute(
                    f"SELECT count(*), min(month) FROM read_parquet('{lake / table}/**/*.parquet', "
                    "hive_partitioning = true)"
                ).fetchone()
                assert found == (expected, month)
        assert (lake / "runs.parquet").is_file()


def test_site_key(tmp_path, monkeypatch):
    file = tmp_path / "deep" / "site.key"
    key = site_key(file)
    assert site_key(file) == key
    assert len(key) == 64
    assert pseudonym(key, "patient", "x") != pseudonym("00" * 32, "patient", "x")
    for content in ("short", "zz" * 32, "00" * 31):
        file.write_text(content)
        with pytest.raises(OptionError, match="64 hexadecimal digits"):
            site_key(file)
    monkeypatch.setenv("CORDGAP_SITE_KEY", str(tmp_path / "named"))
    assert default_key_file() == tmp_path / "named"


def test_pairs_compare_what_was_predicted_with_what_was_achieved(here, written, tmp_path):
    db = tmp_path / "r.duckdb"
    summary = here.run(written, db)
    with Store(db) as store:
        pairs = [("Smith^Ann", "Jones"), ("Jones", "bad")]
        rows = compare_pairs(store, pairs, summary.done)
        # The one that was refused has no separation to compare.
        assert len(rows) == 1
        for _ in range(2):
            store.add_comparisons(rows)
        assert store.select("SELECT count(*) FROM comparisons")[1] == [(1,)]
        before, achieved, predicted = store.select(
            "SELECT before_mm, achieved_mm, predicted_mm FROM comparisons"
        )[1][0]
        # The phantoms' gaps, less the cosine of the tilt of the cord.
        assert (before, achieved) == pytest.approx((0.0, 1.0), abs=0.05)
        assert predicted > 0
        with pytest.raises(OptionError, match="0 plans lie in"):
            compare_pairs(store, [("nowhere", "Jones")], summary.done)
