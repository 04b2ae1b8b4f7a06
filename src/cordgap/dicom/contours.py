"""Contour points as arrays, from the bytes of the file.

ContourData is text: numbers separated by backslashes. The bytes are taken as written and parsed
in one go, about fifteen times faster than one decimal-string object per number, and the same for
writers that mark values over 64 kB as of unknown type (VR UN).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import Tag

from cordgap.dicom.dataset import items, parse_decimals, raw_bytes

# PS3.3 C.8.8.6.3: contours of this type are combined by exclusive or, plane by plane.
XOR = ("CLOSEDPLANAR_XOR", "CLOSED_PLANAR_XOR")
CLOSED = ("CLOSED_PLANAR", *XOR)
# No structure has as many; they would take minutes to read.
MAX_CONTOURS = 20_000
MAX_POINTS = 100_000
# PS3.3 C.8.8.6.1: the types that enclose nothing.
OPEN = ("POINT", "OPEN_PLANAR", "OPEN_NONPLANAR")
# Points that a writer may count differently: a closing point that it does or does not repeat.
_FORGIVEN_POINTS = 1
_CONTOUR_SEQUENCE = Tag(0x30060040)
_CONTOUR_TYPE = Tag(0x30060042)
_SLAB_THICKNESS = Tag(0x30060044)
_POINT_COUNT = Tag(0x30060046)
_CONTOUR_DATA = Tag(0x30060050)


@dataclass(frozen=True)
class RawContours:
    """Closed contours of one region of interest, and what was left out.

    ``left_out`` counts contours by their geometric type, ``unknown`` those whose type is not in the
    standard; ``miscounted`` counts contours whose
    NumberOfContourPoints does not agree with the points, though all points seem to be there;
    ``damage`` says of each damaged contour what is wrong with it.
    """

    closed: tuple[NDArray[np.float64], ...]
    left_out: tuple[tuple[str, int], ...] = ()
    unknown: int = 0
    miscounted: int = 0
    damage: tuple[str, ...] = ()
    is_xor: bool = False
    slab_thickness_mm: float | None = None

    @property
    def lines(self) -> int:
        """Number of open lines left out; among closed contours they may have been meant as such."""
        return sum(count for kind, count in self.left_out if kind.upper() in OPEN[1:])


def read_contours(roi: Dataset) -> RawContours:
    """Read the contours of one item of ROIContourSequence; never raises for a bad contour."""
    closed: list[NDArray[np.float64]] = []
    left_out: dict[str, int] = {}
    thickness: set[float] = set()
    damage: list[str] = []
    miscounted = unknown = 0
    kinds = set()
    written = _written_contours(roi)
    if written is not None and written > MAX_CONTOURS:
        return RawContours((), damage=(f"{written} contours, expected at most {MAX_CONTOURS}",))
    contours = items(roi, "ContourSequence")
    if written is not None and written != len(contours):
        damage.append(f"{written} contours are written and {len(contours)} can be read")
    for index, contour in enumerate(contours, start=1):
        kind = (raw_bytes(contour, _CONTOUR_TYPE) or b"").strip(b" \0").decode("ascii", "replace")
        if kind.upper() not in CLOSED:
            left_out[kind or "no type"] = left_out.get(kind or "no type", 0) + 1
            unknown += kind.upper() not in OPEN
            continue
        if _CONTOUR_DATA not in contour:
            damage.append(f"contour {index} holds no points")
            continue
        kinds.add(kind.upper())
        count = _number(raw_bytes(contour, _POINT_COUNT))
        try:
            values = parse_decimals(raw_bytes(contour, _CONTOUR_DATA) or b"")
        except ValueError:
            damage.append(f"contour {index} holds values that are not numbers")
            continue
        if values.size % 3:
            stated = f" ({3 * int(count)} for its points)" if count is not None else ""
            damage.append(
                f"contour {index} holds {values.size} coordinates, expected a multiple of 3{stated}"
            )
            continue
        points = values.size // 3
        if points > MAX_POINTS:
            damage.append(f"contour {index} has {points} points, expected at most {MAX_POINTS}")
            continue
        if count and count not in (points, values.size):
            if abs(count - points) > _FORGIVEN_POINTS:
                damage.append(f"contour {index} holds {points} points and states {count:g}")
                continue
            miscounted += 1
        elif count is not None and count != points:
            miscounted += 1
        slab = _number(raw_bytes(contour, _SLAB_THICKNESS))
        if slab is not None and slab > 0:
            thickness.add(slab)
        closed.append(values.reshape(-1, 3))
    return RawContours(
        tuple(closed),
        tuple(sorted(left_out.items())),
        unknown,
        miscounted,
        tuple(damage),
        bool(kinds & set(XOR)),
        max(thickness) if len(thickness) == 1 else None,
    )


def _written_contours(roi: Dataset) -> int | None:
    """Count contours in the bytes of a structure; None where they have been decoded already.

    A wrong length makes a reader skip what follows without a word. The tag of ContourData cannot
    occur in its own text, so that counting it tells how many contours there should be.
    """
    element = roi.get_item(_CONTOUR_SEQUENCE)
    if not isinstance(element, RawDataElement) or not isinstance(element.value, bytes):
        return None
    tag = struct.pack("<HH" if element.is_little_endian else ">HH", 0x3006, 0x0050)
    return element.value.count(tag)


def is_whole(contour: Dataset) -> bool:
    """Tell whether a contour holds all the numbers that it states, without parsing them."""
    count = _number(raw_bytes(contour, _POINT_COUNT))
    data = (raw_bytes(contour, _CONTOUR_DATA) or b"").strip(b" \0")
    size = data.count(b"\\") + 1 if data else 0
    return not count or size >= 3 * (count - _FORGIVEN_POINTS)


def _number(data: bytes | None) -> float | None:
    try:
        values = parse_decimals(data or b"")
    except ValueError:
        return None
    return float(values[0]) if values.size == 1 else None
