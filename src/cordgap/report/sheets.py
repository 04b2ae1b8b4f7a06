"""Results as CSV: the same rounded numbers as in the JSON, an empty cell for what is absent."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from cordgap.analysis import CaseResult
from cordgap.report.files import write_file
from cordgap.report.tables import Document, analysis_document

Row = Sequence[Any]
Sheet = tuple[Row, Iterable[Row]]


def write_csv(result: CaseResult, folder: Path) -> list[Path]:
    """Write every sheet of :func:`csv_texts` into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    sheets = csv_texts(analysis_document(result))
    return [write_file(folder / name, text) for name, text in sheets.items()]


def csv_texts(document: Document) -> dict[str, str]:
    """Return the text of each CSV file, by file name, from an analysis document.

    Every row ends with the type of the dose: an effective dose must not pass for an absorbed one.
    """
    sheets = {
        "dvh.csv": (("roi_number", "roi_name", "dose_gy", "volume_cc"), _dvh(document)),
        "metrics.csv": (
            ("roi_number", "roi_name", "role", "metric", "value", "plus_minus", "bound", "reason"),
            _metrics(document),
        ),
        "constraints.csv": (_CONSTRAINT_KEYS, _constraints(document)),
        "separation_curve.csv": _curve(document),
        "sextants.csv": _rows(document, "sextants", _SEXTANT_KEYS),
        "schedules.csv": _rows(document, "schedules", _SCHEDULE_KEYS),
        "highest_doses.csv": _rows(document, "highest_doses", _HIGHEST_KEYS),
    }
    kind = document["case"]["dose_type"]
    return {
        name: _text((*head, "dose_type"), ((*row, kind) for row in rows))
        for name, (head, rows) in sheets.items()
    }


_SEXTANT_KEYS = ("name", "gap_mm", "level_mm", "deficit_mm", "resection_cc", "reachable", "reason")
_SCHEDULE_KEYS = (
    "dose_gy", "fractions", "constraint_id", "limit", "derived_from", "required_separation_mm",
    "interval_mm", "question", "reason",
)  # fmt: skip
_HIGHEST_KEYS = (
    "separation_mm", "fractions", "constraint_id", "limit", "derived_from", "dose_gy", "at_least",
    "interval_gy", "interval_at_least", "reason",
)  # fmt: skip


def _rows(document: Document, member: str, keys: Sequence[str]) -> Sheet:
    """Rows of a list of the separation; an interval takes two columns."""
    separation = document["separation"]
    rows = separation[member] if separation else []
    head = [name for key in keys for name in _columns(key)]
    return head, ([c for key in keys for c in _cells(key, row[key])] for row in rows)


def _columns(key: str) -> tuple[str, ...]:
    stem, _, unit = key.rpartition("_")
    return (f"{stem}_low_{unit}", f"{stem}_high_{unit}") if stem == "interval" else (key,)


def _cells(key: str, value: Any) -> tuple[Any, ...]:
    if len(_columns(key)) == 2:
        return tuple(value) if value else (None, None)
    return (value["constraint_id"],) if isinstance(value, dict) else (value,)


_CONSTRAINT_KEYS = (
    "id", "structure", "roi_name", "segment", "metric_source", "metric_evaluated", "surrogate",
    "limit", "limit_low", "limit_high", "value", "plus_minus", "headroom", "unit", "verdict",
    "within_uncertainty", "bound", "reason", "max_gy", "decides", "level", "endpoint", "source",
    "verified",
)  # fmt: skip


def _dvh(document: Document) -> Iterable[Row]:
    for s in document["dvh"]["structures"]:
        if s["dvh"] is not None:
            for dose, volume in zip(s["dvh"]["dose_gy"], s["dvh"]["volume_cc"], strict=True):
                yield s["roi_number"], s["roi_name"], dose, volume


def _metrics(document: Document) -> Iterable[Row]:
    for s in document["dvh"]["structures"]:
        head = s["roi_number"], s["roi_name"], s["role"]
        yield *head, "volume[cc]", s["volume_cc"], None, None, s["reason"]
        for name, m in s["metrics"].items():
            yield *head, name, m["value"], m["plus_minus"], m["bound"], m["reason"]


def _constraints(document: Document) -> Iterable[Row]:
    return ([row[key] for key in _CONSTRAINT_KEYS] for row in document["constraints"])


def _curve(document: Document) -> Sheet:
    separation = document["separation"]
    points = separation["curve"] if separation else []
    names = list(points[0]["metrics"]) if points else []
    return (
        (
            "question",
            "separation_mm",
            "resection_cc",
            "resection_inside_canal_cc",
            "cord_gy",
            *names,
        ),
        (
            (
                p["question"],
                p["separation_mm"],
                p["resection_cc"],
                p["resection_inside_canal_cc"],
                p["cord_gy"],
                *p["metrics"].values(),
            )
            for p in points
        ),
    )


def _text(head: Row, rows: Iterable[Row]) -> str:
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer)
    writer.writerow(head)
    writer.writerows([safe_cell(value) for value in row] for row in rows)
    return buffer.getvalue()


def safe_cell(value: Any) -> Any:
    """Keep a spreadsheet from running a name as a formula."""
    if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r"):
        return f"'{value}"
    return value
