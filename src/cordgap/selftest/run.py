"""The self-test of an installation: every part, the versions, one value."""

from __future__ import annotations

import platform
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

from cordgap.check.selftest import Row, Selftest
from cordgap.dvh.compiled import Engine, kernels_for
from cordgap.errors import OptionError
from cordgap.limits.checksums import RECORD, compare_tables
from cordgap.selftest.accuracy import accuracy_rows
from cordgap.selftest.distances import separation_rows
from cordgap.selftest.exchange import exchange_rows
from cordgap.selftest.orientation import orientation_rows
from cordgap.selftest.rows import Known, attempt

# What the numbers rest on; the rest does drawing or talking.
PACKAGES = (
    "numpy", "scipy", "pydicom", "shapely", "contourpy", "matplotlib", "jinja2", "typer", "rich",
    "numba", "orjson",
)  # fmt: skip


def run_selftest(progress: Callable[[str], None] | None = None) -> Selftest:
    """Compute cases whose answer is known on this installation, and hold them against the limits.

    Nothing outside a temporary folder is written, nothing is sent anywhere.

    Parameters
    ----------
    progress : callable, optional
        Told the name of each part as it begins.

    Returns
    -------
    Selftest
        With a row for every number; it never raises for what a part does.
    """
    begin = time.perf_counter()
    engines, notes = _engines()
    parts: tuple[tuple[str, Callable[[Path], Iterable[Row]]], ...] = (
        ("accuracy", lambda folder: accuracy_rows(folder, engines)),
        ("orientation", orientation_rows),
        ("separation", separation_rows),
        ("round trip", exchange_rows),
        ("tables", lambda _: table_rows()),
    )
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="cordgap-selftest-") as folder:
        for name, part in parts:
            if progress is not None:
                progress(name)
            # Parts catch what their cases raise; here what they raise before the first one.
            known = Known(name, name)  # type: ignore[arg-type]
            rows += attempt(known, lambda p=part: p(Path(folder)))  # type: ignore[misc]
    return Selftest(
        rows=tuple(rows),
        versions={name: _version(name) for name in ("cordgap", *PACKAGES)},
        platform={
            "python": platform.python_version(),
            "implementation": platform.python_implementation(),
            "system": platform.system(),
            "release": platform.release(),
            "machine": platform.machine(),
            "byte_order": sys.byteorder,
        },
        engines=engines,
        notes=tuple(notes),
        seconds=time.perf_counter() - begin,
    )


def table_rows() -> list[Row]:
    """Return a row for every constraint table: is it the one of the release?"""
    rows = []
    for table in compare_tables():
        known = Known("tables", f"limits/tables/{table.name}")
        if table.found is None:
            reason = "the table is recorded and not there"
            rows.append(known.missing("SHA-256", "checksum", reason, expected=table.recorded))
        elif table.recorded is None:
            reason = f"the table is not recorded in {RECORD}: it did not come with the release"
            rows.append(known.missing("SHA-256", "checksum", reason))
        else:
            rows.append(known.same("SHA-256", table.found, table.recorded, limit_id="checksum"))
    return rows


def _engines() -> tuple[tuple[Engine, ...], list[str]]:
    """Return the ways to compute that this installation has, and what is to be said of them."""
    if find_spec("numba") is None:
        return ("numpy",), ["numba is not installed: numpy computes everything"]
    try:
        kernels_for(0.0, "compiled")
    except OptionError:
        return ("numpy",), ["numba is installed and does not work: numpy computes everything"]
    return ("numpy", "compiled"), []


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
