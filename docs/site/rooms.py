"""Draw the rooms of the package from the imports in its files: docs/images/rooms.svg and a table.

    python docs/site/rooms.py            # write both anew
    python docs/site/rooms.py --print    # the table alone

A room is a folder of src/cordgap, or a file that stands there alone. An arrow goes from a room to
one that it imports from. Imports for the type checker count.
"""

from __future__ import annotations

import ast
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "src" / "cordgap"
PAGE = ROOT / "docs" / "architecture.md"
PICTURE = ROOT / "docs" / "images" / "rooms.svg"
BEGIN, END = "<!-- rooms: from docs/site/rooms.py -->", "<!-- end of rooms -->"
# Behind the front door and the number of the version there is nothing to draw.
NOT_ROOMS = {"__init__", "_version"}

Edges = dict[str, set[str]]


def edges() -> Edges:
    """For every room the rooms that its files import from."""
    found: Edges = {}
    for path in sorted(SOURCE.rglob("*.py")):
        room = path.relative_to(SOURCE).parts[0].removesuffix(".py")
        if room in NOT_ROOMS:
            continue
        found.setdefault(room, set()).update(imported(path) - {room} - NOT_ROOMS)
    return found


def imported(path: Path) -> set[str]:
    """Rooms that a file imports from, wherever in the file it does so."""
    rooms: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module == "cordgap":
            modules = [f"cordgap.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            modules = [node.module or ""]
        else:
            continue
        rooms |= {m.split(".")[1] for m in modules if m.startswith("cordgap.")}
    return rooms


def ranks(graph: Edges) -> list[list[str]]:
    """Rooms in rows: each below all that it imports from, as high as it can stand."""
    rank: dict[str, int] = {}

    def of(room: str, path: tuple[str, ...] = ()) -> int:
        if room in path:
            raise ValueError(f"rooms import each other: {' -> '.join((*path, room))}")
        if room not in rank:
            rank[room] = max((of(o, (*path, room)) + 1 for o in graph[room]), default=0)
        return rank[room]

    for room in graph:
        of(room)
    return [sorted(r for r in graph if rank[r] == i) for i in range(max(rank.values()) + 1)]


def needed(graph: Edges) -> set[tuple[str, str]]:
    """Edges that do not follow from others: those that are drawn."""
    reach: dict[str, set[str]] = {}

    def below(room: str) -> set[str]:
        if room not in reach:
            reach[room] = graph[room].union(*(below(other) for other in graph[room]))
        return reach[room]

    return {
        (room, other)
        for room, row in graph.items()
        for other in row
        if not any(other in below(third) for third in row if third != other)
    }


def table(graph: Edges) -> str:
    """The edges as a table of the page."""
    lines = ["| room | imports from |", "|---|---|"]
    for row in ranks(graph):
        for room in row:
            others = ", ".join(f"`{other}`" for other in sorted(graph[room]))
            lines.append(f"| `{room}` | {others or 'nothing'} |")
    return "\n".join(lines)


def picture(graph: Edges) -> str:
    """The rooms as boxes in rows, with an arrow for every edge that does not follow from others."""
    wide, high, gap_x, gap_y = 132, 38, 26, 44
    rows = ranks(graph)
    width = max(len(row) for row in rows) * (wide + gap_x) + gap_x + 60
    height = len(rows) * (high + gap_y) + gap_y
    place = {
        room: (
            width / 2 + (i - (len(row) - 1) / 2) * (wide + gap_x) + (22 if r % 2 else -22),
            gap_y + r * (high + gap_y) + high / 2,
        )
        for r, row in enumerate(rows)
        for i, room in enumerate(row)
    }
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" '
        'font-family="sans-serif" font-size="15" role="img">',
        "<title>Rooms of cordgap: each imports only from rooms above it</title>",
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" '
        'markerHeight="7" orient="auto"><path d="M0 0 8 4 0 8z" fill="#54626f"/></marker></defs>',
        f'<rect width="{width:g}" height="{height:g}" fill="#ffffff"/>',
    ]
    row_of = {room: r for r, row in enumerate(rows) for room in row}
    for room, other in sorted(needed(graph)):
        (x0, y0), (x1, y1) = place[room], place[other]
        if row_of[room] - row_of[other] == 1:
            y0, y1 = y0 - high / 2, y1 + high / 2
            bend = (y0 - y1) / 2
            line = f"M{x0:g} {y0:g}C{x0:g} {y0 - bend:g} {x1:g} {y1 + bend:g} {x1:g} {y1:g}"
        else:  # past rooms that it has nothing to do with: outside of all of them
            side = 1 if x1 > width / 2 else -1
            lane, x0, x1 = (
                width / 2 + side * (width / 2 - 16),
                x0 + side * wide / 2,
                x1 + side * wide / 2,
            )
            line = (
                f"M{x0:g} {y0:g}C{lane:g} {y0:g} {lane:g} {y0:g} {lane:g} {y0 - high - gap_y:g}"
                f"L{lane:g} {y1 + high + gap_y:g}C{lane:g} {y1:g} {lane:g} {y1:g} {x1:g} {y1:g}"
            )
        out.append(
            f'<path d="{line}" fill="none" stroke="#54626f" stroke-width="1.3" '
            'marker-end="url(#tip)"/>'
        )
    for room, (x, y) in place.items():
        out.append(
            f'<rect x="{x - wide / 2:g}" y="{y - high / 2:g}" width="{wide}" height="{high}" '
            'rx="7" fill="#e8f0f7" stroke="#2c5f8a"/>'
            f'<text x="{x:g}" y="{y + 5:g}" text-anchor="middle" fill="#12263a">{room}</text>'
        )
    return "\n".join([*out, "</svg>"]) + "\n"


def with_table(page: str, text: str) -> str:
    """The page with the table between its marks."""
    head, _, rest = page.partition(BEGIN)
    _, found, tail = rest.partition(END)
    if not found:
        raise ValueError(f"{PAGE} has no place for the table")
    return f"{head}{BEGIN}\n\n{text}\n\n{END}{tail}"


def main() -> None:
    graph = edges()
    print(table(graph))
    if "--print" not in sys.argv:
        PICTURE.write_text(picture(graph), encoding="utf-8")
        page = PAGE.read_text(encoding="utf-8")
        PAGE.write_text(with_table(page, table(graph)), encoding="utf-8")


if __name__ == "__main__":
    main()
