"""The JSON Schemas of the documents, each complete in itself when loaded."""

from __future__ import annotations

import json
import re
from importlib.resources import files
from typing import Any

from cordgap.errors import OptionError

_NAMES = (
    "analysis", "batch", "check", "compare", "dvh", "error", "falloff", "outcome", "protocols",
    "query", "results", "scenarios", "selftest", "separation", "table", "transfer", "trends",
    "watch",
)  # fmt: skip
_REFERENCE = re.compile(r"urn:cordgap:schema:([a-z]+):\d+")


def schema_names() -> tuple[str, ...]:
    """Return the names of the documents that have a schema."""
    return _NAMES


def load_schema(name: str) -> dict[str, Any]:
    """Read the JSON Schema (2020-12) of a document, with every schema it refers to inside.

    Raises
    ------
    OptionError
        If there is no schema of that name.

    Examples
    --------
    >>> load_schema("error")["properties"]["exit_code"]
    {'const': 2}
    """
    if name not in _NAMES:
        raise OptionError(f"no schema is called {name!r}; available: {', '.join(_NAMES)}")
    schema = _read(name)
    parts: dict[str, Any] = {}
    _collect(schema, parts, own=name)
    schema["$defs"] = schema.get("$defs", {}) | parts
    return schema


def _collect(schema: dict[str, Any], parts: dict[str, Any], *, own: str) -> None:
    for other in sorted(set(_REFERENCE.findall(json.dumps(schema))) - {own}):
        if other not in parts:
            parts[other] = _read(other)
            _collect(parts[other], parts, own=own)


def _read(name: str) -> dict[str, Any]:
    file = files("cordgap.report") / "schemas" / f"{name}.json"
    schema: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return schema
