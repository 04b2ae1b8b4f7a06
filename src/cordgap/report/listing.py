"""The results below a folder, as rows: what ``cordgap serve`` lists and ``--json`` prints."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from cordgap._version import __version__
from cordgap.errors import SAFETY_SENTENCES, OptionError
from cordgap.report.files import words_of
from cordgap.report.parts import Document

RESULT = "result.json"
# Pages of a result, in the order in which they are offered, and their names.
PAGES = {"report.html": "page", "report.pdf": "PDF", "view3d.html": "3D", RESULT: "JSON"}
# Folders of a result whose files are offered as well, by the ends of their names.
FOLDERS = {"mesh": (".stl", ".glb"), "dicom": (".dcm",)}
# A result of many structures has a few MB.
MOST_BYTES = 200_000_000
# A result that is deeper than this below the folder is not looked for.
MOST_DEPTH = 6
# What the exit code of an analysis says in a word.
VERDICTS = {0: "met", 1: "exceeded", 3: "not evaluable"}


def results_document(folder: Path) -> Document:
    """Return every result below a folder as ``cordgap.results/1``.

    Raises
    ------
    OptionError
        If the folder is none.
    """
    if not folder.is_dir():
        raise OptionError(f"{folder.name or folder} is not a folder: name one that holds results")
    return {
        "schema": "cordgap.results/1",
        "cordgap_version": __version__,
        "results": [_row(folder, place) for place in result_folders(folder)],
        "safety": list(SAFETY_SENTENCES),
    }


def result_folders(folder: Path) -> list[Path]:
    """Return the folders that hold a result, by name; links are not followed."""
    return sorted(_walk(folder))


def _walk(folder: Path) -> Iterator[Path]:
    for place, inner, names in os.walk(folder):
        here = Path(place)
        if len(here.relative_to(folder).parts) >= MOST_DEPTH:
            inner.clear()
        inner[:] = [name for name in inner if not name.startswith(".")]
        if RESULT in names:
            yield here


def _row(folder: Path, place: Path) -> Document:
    head: Document = {
        "folder": place.relative_to(folder).as_posix(),
        "files": _files(place),
    }
    try:
        document = _read(place / RESULT)
        return head | _summary(document) | {"reason": None}
    except OSError as error:
        reason = words_of(error)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        reason = f"{RESULT} is not a result of cordgap analyze"
    return head | dict.fromkeys(_KEYS) | {"verdict": "not readable", "reason": reason}


def _files(place: Path) -> list[str]:
    """Names of what is offered of a result, relative to its folder."""
    found = [name for name in PAGES if (place / name).is_file()]
    for folder, ends in FOLDERS.items():
        inner = place / folder
        if inner.is_dir():
            names = (f"{folder}/{f.name}" for f in inner.iterdir() if f.suffix.lower() in ends)
            found += sorted(names)
    return found


def _read(file: Path) -> Document:
    if file.stat().st_size > MOST_BYTES:
        raise ValueError("too large")
    document = json.loads(file.read_text(encoding="utf-8"))
    if document["schema"] != "cordgap.analysis/1":
        raise ValueError(document["schema"])
    return dict(document)


_SEPARATION_KEYS = (
    "separation_mm", "required_separation_mm", "interval_mm", "make_mm", "question", "status",
)  # fmt: skip
_KEYS = (
    "case_id", "patient_name", "patient_id", "cord", "target", "dose_gy", "fractions", "level",
    *_SEPARATION_KEYS, "verdict", "input_verdict", "warnings", "cordgap_version",
)  # fmt: skip


def _summary(document: Document) -> Document:
    """What a list shows of one result; keys as in the document it comes from."""
    s = document["separation"] or {}
    identity = document["case"]["identity"] or {}
    prescription = document["prescription"] or {}
    return {
        "case_id": document["case"]["case_id"],
        "patient_name": identity.get("patient_name"),
        "patient_id": identity.get("patient_id"),
        "cord": _name(s.get("cord")),
        "target": _name(s.get("target")),
        "dose_gy": prescription.get("dose_gy"),
        "fractions": prescription.get("fractions"),
        "level": (s.get("level") or {}).get("label"),
        **{key: s.get(key) for key in _SEPARATION_KEYS},
        "verdict": VERDICTS[document["exit_code"]],
        "input_verdict": document["input_verdict"],
        "warnings": len(document["warnings"]),
        "cordgap_version": document["cordgap_version"],
    }


def _name(part: Mapping[str, Any] | None) -> str | None:
    return None if part is None else part["roi_name"]
