"""The store of a batch: a DuckDB file with the tables of tables.py.

Every analysis ever made is kept in ``all_plans`` and its sisters; ``plans`` and the others are
views of the one analysis of each plan that counts, so that nothing is counted twice. A plan's rows
are written in one transaction: they are there whole or not at all.
"""

from __future__ import annotations

import errno
import hashlib
import hmac
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from cordgap._version import __version__
from cordgap.batch.tables import OF_RESULT, STORE_VERSION, TABLES
from cordgap.errors import CordgapError, OptionError

Row = dict[str, Any]
Rows = dict[str, list[Row]]
_DAMAGED = "store-damaged"
_INSTALL = "the store needs DuckDB: pip install 'cordgap[batch]'"


class StoreError(CordgapError):
    """The database cannot be opened, read or written."""

    default_code = "store-unusable"


def _base(table: str) -> str:
    return f"all_{table}" if table in OF_RESULT else table


def _schema() -> list[str]:
    """SQL of an empty store."""
    made = []
    for table, columns in TABLES.items():
        listed = ", ".join(f"{c.name} {c.type}" for c in columns)
        if table == "plans":
            listed += ", is_current BOOLEAN"
        made.append(f"CREATE TABLE {_base(table)} ({listed})")
    made.append("CREATE TABLE store (version INTEGER, made_by VARCHAR, key_id VARCHAR)")
    return made + _views()


def _views() -> list[str]:
    made = [
        "CREATE OR REPLACE VIEW plans AS SELECT * EXCLUDE (is_current) FROM all_plans "
        "WHERE is_current"
    ]
    made += [
        f"CREATE OR REPLACE VIEW {table} AS SELECT t.* FROM all_{table} t "
        "SEMI JOIN plans p USING (result_id)"
        for table in OF_RESULT
        if table != "plans"
    ]
    return made


# What brings a store of one version to the next; the views are made anew after the last.
MIGRATIONS: dict[int, Sequence[str]] = {}


class Store:
    """One open database. Use it in a ``with`` block; only one process can write at a time."""

    def __init__(self, path: Path, *, site_key: str | None = None, read_only: bool = False) -> None:
        self.path = path
        self._db = _connect(path, read_only)
        try:
            self._prepare(site_key, read_only)
        except BaseException as error:
            self._db.close()
            raise _explained(path, error) from error

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the database."""
        self._db.close()

    def _prepare(self, site_key: str | None, read_only: bool) -> None:
        tables = {row[0] for row in self._db.execute("SHOW TABLES").fetchall()}
        if not tables and not read_only:
            values = [STORE_VERSION, __version__, _key_id(site_key)]

            def make() -> None:
                for statement in _schema():
                    self._db.execute(statement)
                self._db.execute("INSERT INTO store VALUES (?, ?, ?)", values)

            self._do(make)
            return
        if "store" not in tables:
            raise StoreError(
                f"{self.path.name}: a DuckDB file, but no store of cordgap; name another file with "
                "--db",
                code="store-unusable",
            )
        found = self._db.execute("SELECT version, key_id FROM store").fetchone()
        assert found is not None
        version, key_id = found
        if version > STORE_VERSION:
            raise StoreError(
                f"{self.path.name}: of store version {version}, this cordgap knows up to "
                f"{STORE_VERSION}; use a newer cordgap",
                code="store-newer",
            )
        if site_key is not None and key_id is not None and key_id != _key_id(site_key):
            raise StoreError(
                f"{self.path.name}: made with another site key; its pseudonyms would not fit. Name "
                "that key with --site-key, or another --db",
                code="site-key",
            )
        if version < STORE_VERSION:
            if read_only:
                raise StoreError(
                    f"{self.path.name}: of store version {version}; run cordgap batch on it once "
                    "to bring it up to date",
                    code="store-older",
                )
            for step in range(version, STORE_VERSION):
                bump = f"UPDATE store SET version = {step + 1}"
                self._transaction([*MIGRATIONS[step], bump])
            self._transaction(_views())

    def _transaction(self, statements: Iterable[str]) -> None:
        self._do(lambda: [self._db.execute(s) for s in statements])

    def _do(self, work: Callable[[], object]) -> None:
        """Do some work in one transaction; nothing of it stays where it fails."""
        self._db.execute("BEGIN")
        try:
            work()
            self._db.execute("COMMIT")
        except BaseException as error:
            _roll_back(self._db)
            raise _explained(self.path, error) from error

    def known(self) -> dict[str, str]:
        """Return the results that need not be made again, with their plans."""
        sql = "SELECT result_id, plan_id FROM all_plans WHERE status IN ('ok', 'refused')"
        return dict(self.select(sql, kind=_DAMAGED)[1])

    def add(self, results: Sequence[Rows]) -> None:
        """Write the rows of some analyses; what they supersede is kept and no longer counted."""
        heads = [rows["plans"][0] for rows in results]
        if not heads:
            return

        def work() -> None:
            keys = [head["result_id"] for head in heads]
            plans = [head["plan_id"] for head in heads]
            for table in OF_RESULT:
                self._db.execute(
                    f"DELETE FROM {_base(table)} WHERE result_id IN (SELECT unnest(?::VARCHAR[]))",
                    [keys],
                )
            # What was written of the same place while its files could not be read.
            places = [p for rows in results for p in rows["plans"][0].get("places", ())]
            self._retire([*plans, *places])
            for table in OF_RESULT:
                rows = [row for result in results for row in result.get(table, ())]
                if table == "plans":
                    last = {row["plan_id"]: row["result_id"] for row in rows}
                    rows = [r | {"is_current": last[r["plan_id"]] == r["result_id"]} for r in rows]
                self._insert(table, rows)

        self._do(work)

    def promote(self, result_ids: Sequence[str], places: Sequence[str] = ()) -> None:
        """Make known results count again: their plans are as they were then.

        ``places`` are names under which the same plans stand while they cannot be read.
        """
        if not result_ids:
            return

        def work() -> None:
            self._retire(places)
            stale = self._db.execute(
                "SELECT result_id, plan_id FROM all_plans WHERE NOT is_current AND result_id IN "
                "(SELECT unnest(?::VARCHAR[]))",
                [list(result_ids)],
            ).fetchall()
            self._retire([plan for _, plan in stale])
            self._db.execute(
                "UPDATE all_plans SET is_current = true WHERE result_id IN "
                "(SELECT unnest(?::VARCHAR[]))",
                [[result for result, _ in stale]],
            )

        self._do(work)

    def _retire(self, plan_ids: Sequence[str]) -> None:
        self._db.execute(
            "UPDATE all_plans SET is_current = false WHERE is_current AND plan_id IN "
            "(SELECT unnest(?::VARCHAR[]))",
            [list(plan_ids)],
        )

    def _insert(self, table: str, rows: Sequence[Row]) -> None:
        if not rows:
            return
        columns = [(c.name, c.type) for c in TABLES[table]]
        if table == "plans":
            columns.append(("is_current", "BOOLEAN"))
        names = ", ".join(name for name, _ in columns)
        values = ", ".join(f"unnest(?::{kind}[])" for _, kind in columns)
        self._db.execute(
            f"INSERT INTO {_base(table)} ({names}) SELECT {values}",
            [[row.get(name) for row in rows] for name, _ in columns],
        )

    def write_run(self, run: Row) -> None:
        """Write a run, in place of what was written of it before."""

        def work() -> None:
            self._db.execute("DELETE FROM runs WHERE run_id = ?", [run["run_id"]])
            self._insert("runs", [run])

        self._do(work)

    def add_comparisons(self, rows: Sequence[Row]) -> None:
        """Write comparisons, in place of those of the same plans."""

        def work() -> None:
            for row in rows:
                self._db.execute(
                    "DELETE FROM comparisons WHERE plan_id = ? AND after_plan_id = ?",
                    [row["plan_id"], row["after_plan_id"]],
                )
            self._insert("comparisons", rows)

        self._do(work)

    def counts(self, result_ids: Iterable[str]) -> tuple[dict[str, int], int]:
        """Count some results by status, and those of them that exceed a limit."""
        sql = (
            "SELECT status, count(*), count(*) FILTER (exceeded) FROM all_plans WHERE result_id IN "
            "(SELECT unnest(?::VARCHAR[])) GROUP BY status"
        )
        found = self.select(sql, [list(result_ids)], kind=_DAMAGED)[1]
        return {status: n for status, n, _ in found}, sum(over for _, _, over in found)

    def select(
        self, sql: str, parameters: Sequence[Any] = (), *, kind: str = "query"
    ) -> tuple[list[str], list[tuple[Any, ...]]]:
        """Run one query and return names of columns and rows.

        Raises
        ------
        StoreError
            With the words of the database, if it cannot be run.
        """
        try:
            done = self._db.execute(sql, list(parameters))
            return [d[0] for d in done.description or ()], done.fetchall()
        except Exception as error:
            raise _explained(self.path, error, kind) from error

    def copy_parquet(self, sql: str, target: Path, by: Sequence[str] = ()) -> None:
        """Write what a query finds as Parquet: a file, or folders by the values of columns."""
        partition = f", PARTITION_BY ({', '.join(by)}), OVERWRITE_OR_IGNORE" if by else ""
        place = str(target).replace("'", "''")
        self.select(f"COPY ({sql.strip().rstrip(';')}) TO '{place}' (FORMAT parquet{partition})")


def _connect(path: Path, read_only: bool) -> Any:
    try:
        import duckdb
    except ImportError as error:
        raise StoreError(_INSTALL, code="package-missing") from error
    if read_only and not path.is_file():
        raise OptionError(f"{path.name}: there is no such database; cordgap batch makes one")
    if not read_only:
        path.parent.mkdir(parents=True, exist_ok=True)
    try:
        # Extensions would be fetched from the network, and files read behind the user's back.
        config: dict[str, str | bool | int | float | list[str]] = {
            "autoinstall_known_extensions": False,
            "autoload_known_extensions": False,
        }
        if not read_only:
            # What was written is kept in memory until a checkpoint: by default 16 MB of it.
            config["checkpoint_threshold"] = "1MB"
        return duckdb.connect(str(path), read_only=read_only, config=config)
    except Exception as error:
        raise _explained(path, error) from error


def _explained(path: Path, error: BaseException, kind: str = "store-unusable") -> BaseException:
    """Say in our words what the database refused, and what to do."""
    if isinstance(error, CordgapError) or not isinstance(error, Exception):
        return error
    words = str(error).splitlines()[0] if str(error) else type(error).__name__
    folded = words.casefold()
    full = isinstance(error, OSError) and error.errno == errno.ENOSPC
    if full or "no space left" in folded or "disk full" in folded:
        return StoreError(
            f"{path.name}: no space is left on the disk; what was written is kept. Make room and "
            "run the same command again",
            code="disk-full",
        )
    if "lock" in folded and "could not set" in folded:
        return StoreError(
            f"{path.name}: another process has it open; wait until it is done, or name another "
            "--db",
            code="store-locked",
        )
    if kind == "query":
        return StoreError(words.replace(str(path), path.name), code="query-refused")
    return StoreError(
        f"{path.name}: it cannot be used as a database ({words.replace(str(path), path.name)}); "
        "restore it from a backup, or name another --db and run again",
        code="store-damaged",
    )


def _roll_back(db: Any) -> None:
    try:
        db.execute("ROLLBACK")
    except Exception:  # the transaction is gone already
        return


def _key_id(site_key: str | None) -> str | None:
    if site_key is None:
        return None
    return hmac.new(bytes.fromhex(site_key), b"key id", hashlib.sha256).hexdigest()[:8]
