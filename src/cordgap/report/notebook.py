"""What a notebook shows of a result: the answer, the limits and two pictures."""

from __future__ import annotations

from base64 import b64encode
from dataclasses import dataclass
from importlib.resources import files
from typing import TYPE_CHECKING

from cordgap.analysis import CaseResult
from cordgap.errors import SAFETY_SENTENCES
from cordgap.report.figures import draw_figure, figure_bytes
from cordgap.report.numbers import shown
from cordgap.report.sentence import answer_sentence, gap_level_mm, level_label

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_FIGURES = {
    "axial": "Axial plane through the smallest gap; patient right is on the left",
    "dvh": "Dose-volume histograms with the limits",
}


@dataclass(frozen=True)
class Picture:
    """A figure as a notebook shows it."""

    png: bytes

    def __repr__(self) -> str:
        return f"<Picture of {len(self.png)} bytes>"

    def _repr_png_(self) -> bytes:
        return self.png


def picture(figure: Figure) -> Picture:
    """Return a figure so that a notebook shows it, whatever its backend."""
    return Picture(figure_bytes(figure, "png"))


def result_html(result: CaseResult) -> str:
    """Return an HTML fragment without script and without a request to anywhere.

    Names of structures are text: they are escaped. The patient's identity is never in it.
    """
    from jinja2 import Environment, StrictUndefined

    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters.update(num=shown)
    source = files("cordgap.report") / "templates" / "notebook.html"
    return environment.from_string(source.read_text(encoding="utf-8")).render(
        sentence=answer_sentence(result),
        level=level_label(result, gap_level_mm(result.separation)),
        constraints=[row for row in result.constraints if row.decides],
        warnings=result.warnings,
        figures=[
            (alt, b64encode(figure_bytes(draw_figure(name, result), "png")).decode("ascii"))
            for name, alt in _FIGURES.items()
        ],
        safety=SAFETY_SENTENCES,
        version=result.cordgap_version,
        case_id=result.case.case_id,
    )
