"""An interactive view of closed surfaces: one file that works offline."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from importlib.resources import files
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cordgap.analysis import CaseResult
from cordgap.errors import SAFETY_SENTENCES
from cordgap.report.numbers import shown
from cordgap.report.sentence import answer_sentence, gap_level_mm, level_label

# Cord through target: what is behind must be seen.
_OPACITY = {"cord": 1.0, "target": 0.35, "removed": 0.85}
_SCRIPTS = ("vendor/plotly-gl3d.min.js", "view3d.js")


@dataclass(frozen=True, eq=False)
class Body:
    """A closed surface: vertices (n, 3) in mm (LPS), faces (m, 3) with normals outwards.

    ``kind`` is ``cord``, ``target`` or ``removed``; ``name`` is what people read, and
    ``volume_cc`` the volume of the body that the surface stands for.
    """

    kind: str
    name: str
    colour: str
    vertices_mm: NDArray[np.float64]
    faces: NDArray[np.int64]
    volume_cc: float


def view_html(result: CaseResult, bodies: Sequence[Body], separation_mm: float | None) -> str:
    """Return ``view3d.html``, self-contained.

    Parameters
    ----------
    result : CaseResult
    bodies : sequence of Body
    separation_mm : float or None
        At which a body was removed.
    """
    from jinja2 import Environment, StrictUndefined

    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    folder = files("cordgap.report") / "templates"
    template = environment.from_string((folder / "view3d.html").read_text(encoding="utf-8"))
    scripts = [(folder / name).read_text(encoding="utf-8") for name in _SCRIPTS]
    return template.render(
        sentence=answer_sentence(result),
        level=level_label(result, gap_level_mm(result.separation)),
        case_id=result.case.case_id,
        version=result.cordgap_version,
        separation=None if separation_mm is None else shown(separation_mm, 1, "mm"),
        bodies=[{"name": b.name, "kind": b.kind, "volume": shown(b.volume_cc, 2)} for b in bodies],
        safety=SAFETY_SENTENCES,
        traces=[_trace(body) for body in bodies],
        box=_box(bodies),
        scripts=scripts,
        hashes=[b64encode(sha256(s.encode()).digest()).decode("ascii") for s in scripts],
    )


def _box(bodies: Sequence[Body]) -> list[list[float]]:
    """Range of each axis that holds every body, so that hiding one moves nothing."""
    corners = np.concatenate([b.vertices_mm for b in bodies])
    lower, upper = corners.min(axis=0) - 2.0, corners.max(axis=0) + 2.0
    return [[float(a), float(b)] for a, b in zip(lower, upper, strict=True)]


def _trace(body: Body) -> dict[str, Any]:
    """What the script needs of a body; arrays as bytes, which are a third of their text."""
    vertices = body.vertices_mm.astype("<f4")
    faces = body.faces.astype("<u4")
    return {
        "name": f"{body.name} ({shown(body.volume_cc, 2)} cc)",
        "color": body.colour,
        "opacity": _OPACITY[body.kind],
        **{axis: _packed(vertices[:, n]) for n, axis in enumerate("xyz")},
        **{axis: _packed(faces[:, n]) for n, axis in enumerate("ijk")},
    }


def _packed(values: NDArray[Any]) -> dict[str, str]:
    data = np.ascontiguousarray(values)
    return {"dtype": data.dtype.str[1:], "bdata": b64encode(data.tobytes()).decode("ascii")}
