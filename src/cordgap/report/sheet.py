"""What stands on the surgeon's sheet: the same words on the printed page and in the PDF."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cordgap.analysis import CaseResult
from cordgap.errors import OptionError
from cordgap.report.numbers import shown
from cordgap.report.sentence import dose_type_words, prescription_words
from cordgap.separation.result import Separation

UNKNOWN = (
    "where the vertebra is, unless one is named: levels are z positions of the planning image",
    "where the cord will lie after decompression, and how it moves",
    "what hardware, cement or spacers will do to image and dose",
    "whether the contours are right: 1 mm in the contour is 1 mm in the answer",
    "whether the tumour can be reached: that is the surgeon's judgement",
)
# A logo may be so large as a file and in pixels; it is made smaller for the PDF.
MOST_LOGO_BYTES, MOST_LOGO_PIXELS = 5_000_000, 40_000_000
_LOGO_PIXELS = (800, 240)
_IDENTITY = (("Patient", "patient_name"), ("ID", "patient_id"), ("Date of birth", "birth_date"))


@dataclass(frozen=True)
class Extras:
    """What the user adds to the PDF: notes, a logo (a picture file as bytes), names and values."""

    notes: str = ""
    logo: bytes | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)


def read_extras(notes: str | None, logo: Path | None, metadata: Sequence[str]) -> Extras | None:
    """Return what the user adds to the PDF, checked; None if it is nothing.

    Raises
    ------
    OptionError
        If the logo cannot be read as a PNG or JPEG picture, or a pair is not ``KEY=VALUE``.
    """
    if notes is None and logo is None and not metadata:
        return None
    pairs: dict[str, str] = {}
    for text in metadata:
        key, sign, value = text.partition("=")
        if not sign or not key.strip() or key.strip() in pairs:
            raise OptionError(f"--metadata {text!r}: write KEY=VALUE, each KEY once")
        pairs[key.strip()] = value.strip()
    return Extras((notes or "").strip(), None if logo is None else _read_logo(logo), pairs)


def _read_logo(file: Path) -> bytes:
    from PIL import Image

    try:
        if file.stat().st_size > MOST_LOGO_BYTES:
            raise OptionError(f"--logo {file.name}: larger than {MOST_LOGO_BYTES // 10**6} MB")
        data = file.read_bytes()
        with Image.open(io.BytesIO(data), formats=("PNG", "JPEG")) as image:
            if image.width * image.height > MOST_LOGO_PIXELS:
                raise OptionError(f"--logo {file.name}: more than {MOST_LOGO_PIXELS:,} pixels")
            small = image.convert("RGBA")
        small.thumbnail(_LOGO_PIXELS)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        reason = getattr(error, "strerror", None) or "not a PNG or JPEG picture"
        raise OptionError(f"--logo {file.name} cannot be read: {reason}") from error
    buffer = io.BytesIO()
    small.save(buffer, "PNG")
    return buffer.getvalue()


@dataclass(frozen=True)
class VolumeRow:
    """Target closer to the cord than a separation: in all, inside and outside the canal, in cc."""

    words: str
    all_cc: float | None
    inside_cc: float | None

    @property
    def outside_cc(self) -> float | None:
        """Volume outside the canal; None where it is not known."""
        if self.all_cc is None or self.inside_cc is None:
            return None
        return self.all_cc - self.inside_cc


def identity_lines(result: CaseResult, *, identify: bool) -> list[tuple[str, str | None]]:
    """Return patient, ID and date of birth; without ``identify`` lines to fill in by hand."""
    known = result.case.identity if identify else {}
    return [(name, known.get(key) or None) for name, key in _IDENTITY]


def volume_rows(s: Separation) -> list[VolumeRow]:
    """Return the volumes at the estimate and at what is to be made."""
    rows = []
    if s.required_separation_mm is not None:
        words = f"{shown(s.required_separation_mm, 1, 'mm')} (estimate)"
        rows.append(VolumeRow(words, s.resection_cc, s.resection_inside_canal_cc))
    for point in s.curve:
        if s.make_mm is not None and abs(point.separation_mm - s.make_mm) < 1e-6:
            words = f"{shown(s.make_mm, 1, 'mm')} (make)"
            rows.append(VolumeRow(words, point.resection_cc, point.resection_inside_canal_cc))
            break
    return rows


def goal_line(result: CaseResult) -> str:
    """Return what the separation is for, in one line."""
    s = result.separation
    if s is None:
        return f"none: {result.separation_reason}"
    goals = [g for g in s.cord_goals if g.id == s.binding_constraint] or list(s.cord_goals)
    parts = [f"{g.roi_name} {g.metric} ≤ {g.limit:g} {g.unit} ({g.id})" for g in goals[:1]]
    parts += [
        f"{s.target_roi_name} {g.metric} ≥ {g.at_least:g}" for g in s.coverage_goals if g.headline
    ]
    line = f"{' and '.join(parts)}, {prescription_words(s.prescription)}; {s.question}"
    kind = dose_type_words(result.case)
    return f"{line}; all doses: {kind}." if kind else f"{line}."
