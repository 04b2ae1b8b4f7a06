"""Constraint tables: one TOML file a protocol, every row cited and marked verified or not.

A table is checked key by key when it is read, because a mistyped limit must not pass in silence.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any, get_args

from cordgap.case.naming import Role
from cordgap.dvh.metrics import Metric, parse_metric
from cordgap.errors import MetricSyntaxError, ProtocolError
from cordgap.limits.constraint import Constraint, Level, Verified

DEFAULT_PROTOCOL = "hytec-2021"

CORD_ROLES: tuple[Role, ...] = ("cord", "cord_prv", "thecal_sac", "canal")

# How sources write a point maximum without saying how small the point is.
_POINT_MAXIMUM = re.compile(
    r"(point[\s_-]*)?[dp]?max(imum)?([\s_-]*(point[\s_-]*)?dose)?\s*(\[gy\])?", re.I
)
_POINT_MAXIMUM_RULE = "a point maximum is evaluated on D0.035cc[Gy] with surrogate = true"
_DOI = re.compile(r"10\.\d{4,9}/\S+")


@dataclass(frozen=True)
class _Key:
    """What a key of a table may hold: ``text``, ``number``, ``count`` or ``flag``."""

    kind: str
    required: bool = False
    allowed: tuple[str, ...] = ()


_PROTOCOL_KEYS = {
    "id": _Key("text", required=True),
    "title": _Key("text", required=True),
    "year": _Key("count"),
    "citation": _Key("text", required=True),
    "doi": _Key("text"),
    "no_doi": _Key("text"),
    "notes": _Key("text"),
    "site": _Key("text"),
    "date": _Key("date"),
    "inherit": _Key("text"),
    "drop": _Key("texts"),
}
_ROW_KEYS = {
    "id": _Key("text", required=True),
    "structure": _Key("text", required=True, allowed=get_args(Role)),
    "segment": _Key("text"),
    "segment_beyond_mm": _Key("numbers"),
    "metric_source": _Key("text", required=True),
    "metric": _Key("text", required=True),
    "surrogate": _Key("flag"),
    "limit": _Key("number", required=True),
    "limit_low": _Key("number"),
    "limit_high": _Key("number"),
    "unit": _Key("text", required=True, allowed=("Gy", "cGy", "cc", "%")),
    "fractions": _Key("count"),
    "level": _Key("text", required=True, allowed=get_args(Level)),
    "endpoint": _Key("text"),
    "verified": _Key("text", required=True, allowed=get_args(Verified)),
    "citation": _Key("text"),
    "doi": _Key("text"),
    "no_doi": _Key("text"),
    "url": _Key("text"),
    "note": _Key("text"),
}
_LARGEST = 1e6  # beyond any dose, volume or year: a slip of the keyboard
# Above this a limit in Gy is a dose in cGy; courses stay below 150 Gy in total.
_LARGEST_GY = 200.0
_CGY = 0.01
# What a row says itself when it changes one of these in a row that it inherits: the number is no
# longer the one of the source, nor is what the source says about it.
_NUMBER_KEYS = frozenset(
    ("structure", "segment", "segment_beyond_mm", "metric_source", "metric", "surrogate", "limit",
     "limit_low", "limit_high", "unit", "fractions")
)  # fmt: skip
_ABOUT_THE_NUMBER = (
    "limit_low", "limit_high", "endpoint", "verified", "citation", "doi", "no_doi", "url", "note",
)  # fmt: skip
_BOUNDS = ("limit", "limit_low", "limit_high")
_CITATION = ("citation", "doi", "no_doi")
_KIND_WORDS = {
    "text": "a text in quotes that is not empty",
    "number": "a number above 0 (without its unit)",
    "count": "a whole number above 0",
    "flag": "true or false",
    "numbers": "a list of numbers above 0",
    "texts": "a list of texts in quotes",
    "date": "a date, 2026-11-21",
}


@dataclass(frozen=True)
class Protocol:
    """A constraint table with its source.

    ``inherits`` is the id of the table it starts from; ``site`` and ``date`` are those of a table
    of one's own.
    """

    id: str
    title: str
    year: int | None
    citation: str
    doi: str | None
    notes: str | None
    constraints: tuple[Constraint, ...]
    inherits: str | None = None
    site: str | None = None
    date: str | None = None

    @property
    def fractions(self) -> tuple[int, ...]:
        """The numbers of fractions that the table has rows for, ascending."""
        return tuple(sorted({c.fractions for c in self.constraints if c.fractions is not None}))

    def for_fractions(self, fractions: int) -> tuple[Constraint, ...]:
        """All rows for that number of fractions, unverified ones too."""
        return tuple(c for c in self.constraints if c.fractions in (None, fractions))

    def active(self, fractions: int, *, include_unverified: bool = False) -> tuple[Constraint, ...]:
        """Return the rows that are evaluated: unverified ones only if they are asked for."""
        return tuple(
            c
            for c in self.for_fractions(fractions)
            if include_unverified or c.verified != "unverified"
        )

    def cord_rows(
        self, fractions: int, *, include_unverified: bool = False
    ) -> tuple[Constraint, ...]:
        """Return the active rows on the cord or what surrounds it (PRV, thecal sac, canal)."""
        rows = self.active(fractions, include_unverified=include_unverified)
        return tuple(c for c in rows if c.structure in CORD_ROLES)


def available_protocols() -> tuple[str, ...]:
    """Return the ids of the tables that come with the package.

    Examples
    --------
    >>> "hytec-2021" in available_protocols()
    True
    """
    return tuple(
        sorted(
            t.name.removesuffix(".toml") for t in _tables().iterdir() if t.name.endswith(".toml")
        )
    )


def load_protocol(id_or_path: str | Path = DEFAULT_PROTOCOL) -> Protocol:
    """Read a constraint table.

    Parameters
    ----------
    id_or_path : str or Path
        The id of a table of the package, or the path of a TOML file.

    Returns
    -------
    Protocol

    Raises
    ------
    ProtocolError
        If there is no such table, or naming file, table, row and key of what is wrong in it.

    Examples
    --------
    >>> [(c.limit, c.limit_high) for c in load_protocol("hytec-2021").active(1)]
    [(12.4, 14.0)]
    """
    text = str(id_or_path)
    source: Traversable
    if isinstance(id_or_path, Path) or text.endswith(".toml") or "/" in text or "\\" in text:
        source = Path(id_or_path)
        if not source.is_file():
            raise ProtocolError(f"{text}: no such file; a protocol is an id or a TOML file")
    elif text in available_protocols():
        source = _tables() / f"{text}.toml"
    else:
        raise ProtocolError(
            f"no protocol is called {text!r}; available: {', '.join(available_protocols())}; "
            "or give the path of a TOML file"
        )
    try:
        content = source.read_bytes()
    except OSError as error:
        raise ProtocolError(f"{text}: cannot be read: {error.strerror}") from None
    return _parse(content, source.name)


def find_row(row_id: str, protocol: Protocol) -> tuple[Constraint, str]:
    """Return a row by its id, and the id of its table: the given protocol first, then all others.

    Raises
    ------
    ProtocolError
        If no table has it.
    """
    for table in (protocol, *(load_protocol(name) for name in available_protocols())):
        for row in table.constraints:
            if row.id == row_id:
                return row, table.id
    raise ProtocolError(
        f"no constraint table has a row {row_id!r}; cordgap protocols lists the rows of all tables"
    )


def _tables() -> Traversable:
    return files("cordgap.limits") / "tables"


def _parse(content: bytes, file: str) -> Protocol:
    try:
        document = tomllib.loads(content.decode("utf-8-sig"))
    except ValueError as error:  # syntax, encoding, or a number too long to read
        raise ProtocolError(f"{file}: this is not TOML in UTF-8: {error}") from None
    for name in document:
        if name not in ("protocol", "constraint"):
            raise ProtocolError(
                f"{file}: unknown table {name!r}; allowed: [protocol] and [[constraint]]"
            )
    head, rows = document.get("protocol"), document.get("constraint", [])
    if not isinstance(head, dict):
        raise ProtocolError(f"{file}: table [protocol] is missing")
    if not isinstance(rows, list) or not all(isinstance(r, dict) for r in rows):
        raise ProtocolError(f"{file}: there is no row; every row is a table [[constraint]]")
    if "inherit" in head:
        head, rows = _with_inherited(head, rows, file)
    elif "drop" in head:
        raise ProtocolError(f"{file}: [protocol]: key 'drop': found without 'inherit'")
    if not rows:
        raise ProtocolError(f"{file}: there is no row; every row is a table [[constraint]]")
    _check_keys(head, _PROTOCOL_KEYS, f"{file}: [protocol]")
    constraints: list[Constraint] = []
    for number, row in enumerate(rows, start=1):
        label = repr(row["id"]) if isinstance(row.get("id"), str) and row["id"] else number
        constraints.append(_constraint(row, head, f"{file}: [[constraint]] row {label}"))
    ids = [c.id for c in constraints]
    for one in ids:
        if ids.count(one) > 1:
            raise ProtocolError(f"{file}: [[constraint]] row {one!r}: key 'id': used twice")
    return Protocol(
        id=head["id"],
        title=head["title"],
        year=head.get("year"),
        citation=head["citation"],
        doi=head.get("doi"),
        notes=head.get("notes"),
        constraints=tuple(constraints),
        inherits=head.get("inherit"),
        site=head.get("site"),
        date=None if "date" not in head else str(head["date"]),
    )


def _with_inherited(
    head: dict[str, Any], rows: list[dict[str, Any]], file: str
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Put the rows of a table of the package under those of a file.

    A row of the same id changes the keys that it holds. Where one of them is the number or what
    it means, the citation, the marker and the remarks of the source no longer belong to it.
    """
    where = f"{file}: [protocol]"
    _check_keys(head, {**_PROTOCOL_KEYS, "citation": _Key("text")}, where)
    name = head["inherit"]
    if name not in available_protocols():
        raise ProtocolError(
            f"{where}: key 'inherit': found {name!r}, expected one of "
            + ", ".join(available_protocols())
        )
    base = tomllib.loads((_tables() / f"{name}.toml").read_text(encoding="utf-8"))
    cited = {key: base["protocol"][key] for key in _CITATION if key in base["protocol"]}
    inherited = {
        row["id"]: row if "citation" in row else {**row, **cited} for row in base["constraint"]
    }
    dropped = head.get("drop", [])
    for one in dropped:
        if one not in inherited:
            raise ProtocolError(f"{where}: key 'drop': {name} has no row {one!r}")
    own = {row.get("id"): row for row in rows}
    merged = [
        _overridden(row, own[key]) if key in own else row
        for key, row in inherited.items()
        if key not in dropped
    ]
    merged += [row for row in rows if row.get("id") not in inherited or row["id"] in dropped]
    if not any(key in head for key in _CITATION):
        head = {**head, **cited}
    return head, merged


def _overridden(row: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
    if not _NUMBER_KEYS & own.keys():
        return {**row, **own}
    kept = {key: value for key, value in row.items() if key not in _ABOUT_THE_NUMBER}
    if any(key in own for key in _BOUNDS):
        del kept["unit"]  # a number is never read in a unit that does not stand beside it
    return {**kept, **own}


def _check_keys(table: Mapping[str, Any], keys: Mapping[str, _Key], where: str) -> None:
    for name in table:
        if name not in keys:
            raise ProtocolError(f"{where}: unknown key {name!r}; allowed: {', '.join(keys)}")
    for name, key in keys.items():
        if name not in table:
            if key.required:
                raise ProtocolError(f"{where}: key {name!r} is missing; expected {_expected(key)}")
            continue
        value = table[name]
        if not _fits(value, key):
            raise ProtocolError(
                f"{where}: key {name!r}: found {value!r}, expected {_expected(key)}"
            )


def _expected(key: _Key) -> str:
    return "one of " + ", ".join(key.allowed) if key.allowed else _KIND_WORDS[key.kind]


def _fits(value: object, key: _Key) -> bool:
    if key.kind == "text":
        named = isinstance(value, str) and bool(value.strip())
        return named and (not key.allowed or value in key.allowed)
    if key.kind == "flag":
        return isinstance(value, bool)
    if key.kind == "date":
        return type(value) is date
    if key.kind in ("numbers", "texts"):
        inner = _Key("number" if key.kind == "numbers" else "text")
        return isinstance(value, list) and bool(value) and all(_fits(v, inner) for v in value)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    return 0 < value < _LARGEST and (key.kind == "number" or isinstance(value, int))


def _constraint(row: dict[str, Any], head: dict[str, Any], where: str) -> Constraint:
    _check_keys(row, _ROW_KEYS, where)
    if row["unit"] == "cGy":
        row = {key: value * _CGY if key in _BOUNDS else value for key, value in row.items()}
        row["unit"] = "Gy"
    if row["unit"] == "Gy" and row["limit"] > _LARGEST_GY:
        raise ProtocolError(
            f"{where}: key 'limit': found {row['limit']:g} Gy, expected at most {_LARGEST_GY:g}; "
            'write unit = "cGy" if that is what it is'
        )
    if "segment_beyond_mm" in row and "segment" not in row:
        raise ProtocolError(
            f"{where}: key 'segment_beyond_mm': found without 'segment', which says it in words"
        )
    metric = _metric(row, where)
    limit, low, high = row["limit"], row.get("limit_low"), row.get("limit_high")
    if (low is not None and low > limit) or (high is not None and high < limit):
        raise ProtocolError(
            f"{where}: key 'limit': found {limit:g}, expected a value from limit_low to limit_high"
        )
    citation, doi, no_doi = _citation(row, head, where)
    return Constraint(
        id=row["id"],
        structure=row["structure"],
        metric_source=row["metric_source"],
        metric=metric,
        limit=float(limit),
        unit=row["unit"],
        fractions=row.get("fractions"),
        level=row["level"],
        source=f"{citation}, doi:{doi}" if doi else citation,
        verified=row["verified"],
        surrogate=row.get("surrogate", False),
        limit_low=None if low is None else float(low),
        limit_high=None if high is None else float(high),
        endpoint=row.get("endpoint"),
        doi=doi,
        no_doi=no_doi,
        url=row.get("url"),
        note=row.get("note"),
        segment=row.get("segment"),
        segment_beyond_mm=tuple(float(mm) for mm in row.get("segment_beyond_mm", ())),
    )


def _citation(
    row: dict[str, Any], head: dict[str, Any], where: str
) -> tuple[str, str | None, str | None]:
    # A row that cites another paper must not inherit the DOI of the protocol.
    own = [key for key in _CITATION if key in row]
    if own and "citation" not in own:
        raise ProtocolError(f"{where}: key {own[0]!r}: found without a citation in the same row")
    cited = row if own else head
    doi, no_doi = cited.get("doi"), cited.get("no_doi")
    if (doi is None) == (no_doi is None):
        raise ProtocolError(
            f"{where}: key 'doi': found {'neither' if doi is None else 'both'}, expected either "
            "doi or no_doi (the reason why there is none) beside the citation"
        )
    if doi is not None and not _DOI.fullmatch(doi):
        raise ProtocolError(
            f"{where}: key 'doi': found {doi!r}, expected the bare form 10.xxxx/..."
        )
    return cited["citation"], doi, no_doi


def _metric(row: dict[str, Any], where: str) -> Metric:
    try:
        metric = parse_metric(row["metric"])
    except MetricSyntaxError as error:
        raise ProtocolError(f"{where}: key 'metric': {error}") from None
    if metric.unit != row["unit"]:
        raise ProtocolError(
            f"{where}: key 'unit': found {row['unit']!r}, expected {metric.unit!r}, "
            f"the unit of {metric}"
        )
    surrogate = row.get("surrogate", False)
    names_maximum = _POINT_MAXIMUM.fullmatch(row["metric_source"].strip()) is not None
    if metric.kind == "Max" or ((surrogate or names_maximum) and str(metric) != "D0.035cc[Gy]"):
        raise ProtocolError(f"{where}: key 'metric': found {str(metric)!r}; {_POINT_MAXIMUM_RULE}")
    if names_maximum and not surrogate:
        raise ProtocolError(
            f"{where}: key 'surrogate': metric_source is {row['metric_source']!r}; "
            f"{_POINT_MAXIMUM_RULE}"
        )
    return metric
