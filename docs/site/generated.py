"""Pages that are made from the program: schemas, database, protocols, reference of the functions.

Written into docs/generated before every build of the site, and never by hand.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cordgap
from cordgap.batch.store import _schema as schema_statements
from cordgap.batch.tables import STORE_VERSION, TABLES
from cordgap.limits.constraint import Constraint
from cordgap.limits.protocol import Protocol, available_protocols, load_protocol
from cordgap.limits.rules import reirradiation_rules
from cordgap.report.schema import schema_names

SOURCE = Path(cordgap.__file__).parent
# Rooms whose functions others may call, in the order in which a plan flows through them.
ROOMS = (
    "case", "phantom", "dicom", "dvh", "limits", "separation", "check", "report", "export",
    "network", "batch",
)  # fmt: skip
ALONE = ("errors", "analysis", "comparison")


def write(folder: Path) -> None:
    """Write every page; one that did not change is left alone, for a quick second build."""
    pages = {
        "protocols.md": protocols_page(),
        "database.md": database_page(),
        "schemas.md": schemas_page(),
        "api/index.md": api_index(),
        "api/cordgap.md": api_door(),
        **{f"schemas/{path.stem}.md": schema_page(path) for path in schema_files()},
        **{f"api/{room}.md": api_room(room) for room in ROOMS},
        "api/alone.md": api_alone(),
    }
    for name, text in pages.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
    for path in folder.rglob("*.md"):
        if path.relative_to(folder).as_posix() not in pages:
            path.unlink()


def cell(text: object) -> str:
    """Text as it may stand in a cell of a table."""
    return " ".join(str(text).replace("|", "\\|").replace("<", "&lt;").split())


def table(head: tuple[str, ...], rows: list[tuple[object, ...]]) -> str:
    """A table; columns that hold nothing are left out."""
    kept = [i for i in range(len(head)) if any(row[i] not in ("", None) for row in rows)]
    lines = ["| " + " | ".join(head[i] for i in kept) + " |", "|" + "---|" * len(kept)]
    lines += [
        "| " + " | ".join(cell(row[i] if row[i] is not None else "") for i in kept) + " |"
        for row in rows
    ]
    return "\n".join(lines)


def listing(pages: list[str], depth: int = 1) -> str:
    return "\n".join(["```{toctree}", f":maxdepth: {depth}", "", *pages, "```"])


# Protocols


def protocols_page() -> str:
    parts = [
        "# Every row of every table",
        "Written from the tables in the package. What the columns mean and how a row is judged: "
        "[protocols.md](../protocols.md). The same on the command line: `cordgap protocols ID`.",
        *(protocol_part(load_protocol(name)) for name in available_protocols()),
        reirradiation_part(),
    ]
    return "\n\n".join(parts) + "\n"


def protocol_part(protocol: Protocol) -> str:
    doi = f", [doi:{protocol.doi}](https://doi.org/{protocol.doi})" if protocol.doi else ""
    rows = [row_of(row) for row in protocol.constraints]
    head = ("id", "fractions", "structure", "limit", "kind", "seen", "remarks")
    return "\n\n".join(
        part
        for part in (
            f"## {protocol.id}",
            f"**{protocol.title}.** {protocol.citation}{doi}.",
            protocol.notes,
            table(head, rows),
        )
        if part
    )


def row_of(row: Constraint) -> tuple[object, ...]:
    low, high = row.limit_low, row.limit_high
    span = f" ({low:g} to {high:g})" if low is not None and high is not None and low != high else ""
    where = row.verified + (f" ({seen_at(row.url)})" if row.url else "")
    segment = f" ({row.segment})" if row.segment else ""
    remarks = "; ".join(text.rstrip(".") for text in (row.endpoint, row.note) if text)
    same = row.metric_source in (str(row.metric), str(row.metric).partition("[")[0])
    said = "" if same else f"; the source says {row.metric_source}"
    limit = f"`{row.metric}` at most {row.limit:g} {row.unit}{span}{said}"
    return (
        f"`{row.id}`", row.fractions or "any", row.structure + segment, limit, row.level, where,
        remarks,
    )  # fmt: skip


def seen_at(text: str) -> str:
    """Where a number was seen, with the addresses in it as short links."""
    return re.sub(r"https?://([^/\s,;)]+)[^\s,;)]*", lambda m: f"[{m[1]}]({m[0]})", text)


def reirradiation_part() -> str:
    rules = reirradiation_rules()
    rows: list[tuple[object, ...]] = []
    for condition in rules.conditions:
        bound = (
            f"at most {condition.at_most:g}"
            if condition.at_most is not None
            else f"at least {condition.at_least:g}"
        )
        rows.append(
            (f"`{condition.id}`", condition.words, f"{bound} {condition.unit}", condition.verified)
        )
    return "\n\n".join(
        [
            "## After previous radiation",
            f"{rules.source}. How they are judged: [reirradiation.md](../reirradiation.md).",
            table(("id", "condition", "bound", "seen"), rows),
        ]
    )


# Database


def database_page() -> str:
    parts = [
        "# Tables of the database",
        f"Version {STORE_VERSION} of the store that `cordgap batch` writes "
        "([batch.md](../batch.md)); `cordgap query --tables` lists the same. Units are in "
        "the names; metrics have theirs in `metric`, constraints in `unit`.",
    ]
    for name, columns in TABLES.items():
        rows: list[tuple[object, ...]] = [(f"`{c.name}`", c.type, c.meaning) for c in columns]
        parts += [f"## {name}", table(("column", "type", "meaning"), rows)]
    statements = ";\n".join(schema_statements()) + ";"
    parts += ["## As it is created", f"```sql\n{statements}\n```"]
    return "\n\n".join(parts) + "\n"


# JSON Schemas


def schema_files() -> list[Path]:
    return sorted((SOURCE / "report" / "schemas").glob("*.json"))


def schemas_page() -> str:
    documents = [f"schemas/{name}" for name in schema_names()]
    shared = [f"schemas/{p.stem}" for p in schema_files() if p.stem not in schema_names()]
    return (
        "\n\n".join(
            [
                "# JSON schemas",
                "A page a document, written from the schemas in the package. `cordgap schema NAME` "
                "prints one that is complete in itself. What the members mean: "
                "[json.md](../json.md).",
                listing(documents),
                "Parts that several of them share:",
                listing(shared),
            ]
        )
        + "\n"
    )


def schema_page(path: Path) -> str:
    schema = json.loads(path.read_text(encoding="utf-8"))
    parts = [f"# {path.stem}", f"**{schema['title']}.** {schema.get('description', '')}".strip()]
    rows = list(members(schema))
    if rows:
        parts.append(table(("member", "type", "needed", "meaning"), rows))
    for name, part in schema.get("$defs", {}).items():
        parts.append(f"## {name}")
        if "description" in part:
            parts.append(part["description"])
        rows = list(members(part))
        parts.append(table(("member", "type", "needed", "meaning"), rows) if rows else kind(part))
    return "\n\n".join(parts) + "\n"


def members(schema: dict[str, Any], prefix: str = "") -> Iterator[tuple[object, ...]]:
    """One row a member, and below it those of the objects that it holds."""
    needed = set(schema.get("required", ()))
    for name, part in schema.get("properties", {}).items():
        yield (
            f"`{prefix}{name}`",
            kind(part),
            "" if name in needed else "no",
            part.get("description", ""),
        )
        for inner, mark in ((part, "."), (part.get("items", {}), "[].")):
            yield from members(inner, f"{prefix}{name}{mark}")
        for choice in (*part.get("oneOf", ()), *part.get("anyOf", ())):
            yield from members(choice, f"{prefix}{name}.")


def kind(part: dict[str, Any]) -> str:
    """The type of a member in words, with a link where it is described elsewhere."""
    if "$ref" in part:
        return reference(part["$ref"])
    for key in ("oneOf", "anyOf"):
        if key in part:
            return " or ".join(dict.fromkeys(kind(choice) for choice in part[key]))
    if "const" in part:
        return f"`{json.dumps(part['const'])}`"
    if "enum" in part:
        return ", ".join(f"`{json.dumps(v)}`" for v in part["enum"])
    types = part.get("type", "anything")
    words = types if isinstance(types, str) else " or ".join(types)
    if "array" in words and part.get("items"):
        words += f" of {kind(part['items'])}"
    return words


def reference(target: str) -> str:
    place, _, inner = target.partition("#/$defs/")
    if not place:
        return f"[{inner}](#{inner})" if inner else "itself"
    page = place.split(":")[3]
    return f"[{inner or page}]({page}.md{'#' + inner if inner else ''})"


# Reference of the functions


def api_index() -> str:
    pages = ["cordgap", "alone", *ROOMS]
    return (
        "\n\n".join(
            [
                "# Reference of the functions",
                "From the docstrings. `cordgap` itself holds the dozen names that most programs "
                "need; the rooms hold the rest, in the order in which a plan flows through them "
                "([architecture.md](../../architecture.md)). A name that begins with an underscore "
                "is not for others. The verbs have [a page of their own](../../cli.md).",
                listing(pages, 2),
            ]
        )
        + "\n"
    )


def api_door() -> str:
    names = "\n".join(
        f".. autoclass:: {name}\n   :members:\n   :no-index:\n"
        if isinstance(getattr(cordgap, name), type)
        else f".. autofunction:: {name}\n   :no-index:\n"
        for name in cordgap.__all__
        if name != "__version__"
    )
    directive = f"```{{eval-rst}}\n.. currentmodule:: cordgap\n\n{names}```"
    return f"# cordgap\n\nThe front door.\n\n{directive}\n"


def api_room(room: str) -> str:
    modules = [
        p for p in sorted((SOURCE / room).rglob("*.py")) if p.stem != "__init__" and public(p)
    ]
    intro = ast.get_docstring(
        ast.parse((SOURCE / room / "__init__.py").read_text(encoding="utf-8"))
    )
    parts = [f"# {room}", intro or "", *(api_module(f"cordgap.{room}.{p.stem}") for p in modules)]
    return "\n\n".join(part for part in parts if part) + "\n"


def api_alone() -> str:
    parts = ["# Errors, analysis, comparison", *(api_module(f"cordgap.{name}") for name in ALONE)]
    return "\n\n".join(parts) + "\n"


def api_module(module: str) -> str:
    return f"## {module}\n\n```{{eval-rst}}\n.. automodule:: {module}\n   :members:\n```"


def public(path: Path) -> bool:
    """Whether a file defines a name that others may use."""
    if path.stem.startswith("_"):
        return False
    body = ast.parse(path.read_text(encoding="utf-8")).body
    kinds = (ast.FunctionDef, ast.ClassDef)
    return any(isinstance(node, kinds) and not node.name.startswith("_") for node in body)
