"""``cordgap batch``: every plan under a folder, into a database."""

from __future__ import annotations

import csv
import os
import signal
import sys
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from secrets import token_hex
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cordgap.cli import common, flags, network
from cordgap.errors import OptionError

if TYPE_CHECKING:
    from cordgap.batch.engine import Done, Summary
    from cordgap.batch.studies import PacsPlace
    from cordgap.dicom.inventory import Inventory, PlanFiles

# Between lines of progress in a log.
_LINE_EVERY_S = 10.0
INTERRUPTED_EXIT_CODE = 130


def batch(
    db: Annotated[
        Path, typer.Option("--db", metavar="FILE", help="DuckDB file; made if it is not there.")
    ],
    root: Annotated[
        Path | None,
        typer.Argument(
            metavar="ROOT",
            help="Folder of plans, however they lie in it; not with --pacs.",
            show_default=False,
        ),
    ] = None,
    jobs: Annotated[int, typer.Option(min=1, max=256, help="Plans at a time.")] = 1,
    limit: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Analyse at most N plans now.")
    ] = None,
    since: Annotated[
        str | None,
        typer.Option(
            metavar="DATE",
            help="Only plans with a file changed since then (2026-11-21, local); with --pacs, "
            "studies with a dose of that day or later.",
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be analysed; write nothing.")
    ] = False,
    timeout_s: Annotated[
        float,
        typer.Option("--timeout", metavar="S", min=0.01, help="After this a plan is given up."),
    ] = 300.0,
    memory_mb: Annotated[
        int, typer.Option("--memory-mb", metavar="MB", min=0, help="Limit a plan; 0 for none.")
    ] = 4096,
    scheduler: Annotated[
        str | None,
        typer.Option(metavar="tcp://HOST:PORT", help="Dask scheduler, in place of --jobs."),
    ] = None,
    pacs: Annotated[
        str | None,
        typer.Option(
            metavar="AET@HOST:PORT|URL",
            help="In place of ROOT: an archive that each worker fetches its plans from.",
        ),
    ] = None,
    study: Annotated[
        list[str] | None,
        typer.Option(metavar="UID", help="With --pacs, in place of --since; repeatable."),
    ] = None,
    aet: network.AetOption = "CORDGAP",
    tls: network.TlsOption = False,
    cert: network.CertOption = None,
    key: network.KeyOption = None,
    ca: network.CaOption = None,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write a report a plan, by its plan_id.")
    ] = None,
    pairs: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="CSV of folders PRE,POST below ROOT, for comparisons."),
    ] = None,
    site_key: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Key of the pseudonyms; made if missing.")
    ] = None,
    places: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write which plan_id is where, as CSV.")
    ] = None,
    protocol: flags.ProtocolOption = None,
    constraint: flags.ConstraintOption = None,
    coverage: flags.CoverageOption = None,
    max_mm: flags.MaxOption = None,
    accept: flags.AcceptOption = None,
    json: flags.JsonOption = False,
    quiet: flags.QuietOption = False,
    verbose: flags.VerboseOption = 0,
) -> None:
    """Analyse every plan under a folder, into a database; run again to go on.

    \b
    Examples:
      cordgap batch ROOT --db results.duckdb --dry-run
      cordgap batch ROOT --db results.duckdb --jobs 4
      cordgap batch ROOT --db results.duckdb --since 2026-11-01 --out reports
      cordgap batch --pacs ORTHANC@10.0.0.7:4242 --since 2026-11-01 --db results.duckdb
    """
    common.start_logging(quiet, verbose)
    from cordgap.batch.engine import BatchOptions, run_batch
    from cordgap.batch.lane import memory_is_limited
    from cordgap.batch.pseudonym import default_key_file
    from cordgap.batch.pseudonym import site_key as read_key
    from cordgap.batch.store import Store
    from cordgap.batch.studies import PacsPlace, inventory_of
    from cordgap.batch.work import WorkSettings
    from cordgap.dicom.inventory import take_inventory

    source: Path | PacsPlace
    if pacs is None:
        if study or tls or cert or key or ca:
            raise OptionError("--study, --tls, --cert, --key and --ca go with --pacs")
        source = _folder(root)
    else:
        source = _place(root, pacs, study, since)
        source = replace(source, aet=aet, tls=tls, **_files(cert=cert, key=key, ca=ca))
    # Values that make no sense are refused before anything is looked for.
    checked = common.PlanOptions.given(
        {
            "constraint": constraint, "coverage": coverage, "max_mm": max_mm, "accept": accept,
            "protocol": protocol,
        }
    ).filled_from_file()  # fmt: skip
    checked.settings(None)
    settings = WorkSettings(
        protocol=str(Path(protocol).resolve())
        if protocol is not None and Path(protocol).is_file()
        else protocol,
        constraints=tuple(checked.constraint),
        coverage=tuple(checked.coverage),
        max_mm=max_mm,
        accept=tuple(checked.accept),
    )
    first_day = None if since is None else _day(since)
    words = None if first_day is None else datetime.fromtimestamp(first_day).strftime("%Y%m%d")
    listed = None if pairs is None else _read_pairs(pairs)
    key_file = site_key or default_key_file()
    # A dry run leaves no trace: without a key there is nothing that it could know.
    site = token_hex(32) if dry_run and not key_file.exists() else read_key(key_file)
    bar = _Bar(quiet)
    if memory_mb and scheduler is None and not memory_is_limited() and not quiet:
        words = "warning: no memory limit can be kept on this system; pip install psutil"
        print(f"{words} [memory-not-limited]", file=sys.stderr)
    if isinstance(source, PacsPlace):
        inventory = inventory_of(source, study or (), words)
    else:
        inventory = take_inventory(source, progress=bar.looked_at)
        if first_day is not None:
            inventory = _since(source, inventory, first_day)
    options = BatchOptions(
        jobs=jobs, timeout_s=timeout_s, memory_mb=memory_mb or None, limit=limit,
        scheduler=scheduler, dry_run=dry_run, out=out,
    )  # fmt: skip
    signal.signal(signal.SIGTERM, _stop)
    with Store(Path(":memory:") if dry_run and not db.exists() else db, site_key=site) as store:
        summary = run_batch(
            source, inventory, store, settings=settings, site_key=site, options=options,
            progress=bar.through,
        )  # fmt: skip
        bar.end()
        if listed is not None and not dry_run:
            from cordgap.batch.pairs import compare_pairs

            store.add_comparisons(compare_pairs(store, listed, summary.done))
    if places is not None:
        _write_places(places, summary.done)
    if json:
        common.emit(_document(summary, inventory, dry_run))
    else:
        print(_closing(summary, inventory, dry_run))
    if summary.state == "interrupted":
        raise typer.Exit(INTERRUPTED_EXIT_CODE)
    usable = summary.known + summary.analysed + summary.left
    raise typer.Exit((0 if usable else 2) if dry_run else summary.exit_code)


def _folder(root: Path | None) -> Path:
    if root is None:
        raise OptionError("give ROOT, a folder of plans, or --pacs")
    if not root.is_dir():
        raise OptionError("ROOT: there is no such folder")
    return root


def _place(
    root: Path | None, address: str, study: list[str] | None, since: str | None
) -> PacsPlace:
    """Return the archive that plans are fetched from."""
    from cordgap.batch.studies import PacsPlace

    network.require_extra()
    if root is not None:
        raise OptionError("give either ROOT or --pacs")
    if bool(study) == (since is not None):
        raise OptionError("--pacs: give either --study UID, once or more, or --since DATE")
    return PacsPlace(address)


def _files(**given: Path | None) -> dict[str, Any]:
    """Return paths as words that name the same file wherever a worker starts."""
    return {name: None if path is None else str(path.resolve()) for name, path in given.items()}


def _stop(*_: object) -> None:
    raise KeyboardInterrupt


def _day(text: str) -> float:
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError as error:
        raise OptionError(f"--since {text}: expected a date as 2026-11-21") from error


def _since(root: Path, inventory: Inventory, first: float) -> Inventory:
    """Leave out the plans whose files are all older."""

    def newest(plan: PlanFiles) -> float:
        times = [0.0]
        for name in [plan.archive] if plan.archive else plan.files:
            with suppress(OSError):  # a file that is gone says nothing
                times.append((root / name).stat().st_mtime)
        return max(times)

    return replace(inventory, plans=tuple(p for p in inventory.plans if newest(p) >= first))


def _read_pairs(file: Path) -> list[tuple[str, str]]:
    """Read folders or ZIP files of plans before and after surgery."""
    try:
        with file.open(encoding="utf-8", newline="") as stream:
            rows = [[word.strip() for word in row] for row in csv.reader(stream) if row]
    except (OSError, UnicodeDecodeError) as error:
        raise OptionError(f"--pairs {file.name}: cannot be read as text") from error
    for number, row in enumerate(rows, start=1):
        if len(row) != 2 or not all(row):
            raise OptionError(
                f"--pairs {file.name}, line {number}: expected PRE,POST: two folders or ZIP files "
                "below ROOT"
            )
    return [(before, after) for before, after in rows]


def _write_places(file: Path, done: Iterable[Done]) -> None:
    """Write where each plan is; readable for the owner alone, since folders carry names."""
    handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "w", encoding="utf-8", errors="surrogateescape", newline="") as stream:
        rows = csv.writer(stream)
        rows.writerow(["plan_id", "status", "place"])
        for d in done:
            place = [d.plan.archive] if d.plan.archive else []
            rows.writerow([d.plan_id, d.status, "/".join([*place, *d.plan.files[:1]])])


def _document(summary: Summary, inventory: Inventory, dry_run: bool) -> dict[str, Any]:
    from cordgap.batch.summary import batch_document

    return batch_document(summary, inventory, dry_run=dry_run)


def _closing(summary: Summary, inventory: Inventory, dry_run: bool) -> str:
    from cordgap.batch.summary import closing_lines

    return "\n".join(closing_lines(summary, inventory, dry_run=dry_run))


class _Bar:
    """Progress: one line that is written over on a terminal, a line now and then in a log."""

    def __init__(self, quiet: bool) -> None:
        self._quiet = quiet
        self._terminal = sys.stderr.isatty()
        self._started = self._told = time.monotonic()
        self._new = 0

    def looked_at(self, files: int) -> None:
        if self._terminal and not self._quiet:
            print(f"{files} files looked at", end="\r", file=sys.stderr)

    def through(self, done: Done, count: int, total: int) -> None:
        if self._quiet:
            return
        now = time.monotonic()
        if count == 1:
            self._told = now
        self._new += done.new
        if done.status in ("refused", "failed", "timeout"):
            self._print(f"plan {done.plan_id} {done.status}: {done.reason} [{done.code}]")
        if self._terminal or now - self._told >= _LINE_EVERY_S or count == total:
            self._told = now
            rate = count / max(now - self._started, 1e-3)
            left = (total - count) / rate
            words = f"{count} of {total} plans, {rate:.2f} a second, {_clock(left)} left"
            if self._terminal:
                print(f"\r\x1b[K{words}", end="", file=sys.stderr, flush=True)
            else:
                print(words, file=sys.stderr, flush=True)

    def end(self) -> None:
        if self._terminal and not self._quiet:
            print(file=sys.stderr)

    def _print(self, words: str) -> None:
        start = "\r\x1b[K" if self._terminal else ""
        print(f"{start}{words}", file=sys.stderr, flush=True)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
