"""Files that are small or plain to write and dear to read: nests, counts, streams, crowds.

Each is made by a function, so that none is held in memory before its turn. All are structural.
"""

from __future__ import annotations

import math
import random
import struct
import zlib
from collections.abc import Callable

from pydicom.datadict import tag_for_keyword
from tests.fuzz.elements import Edit, Element, Layout
from tests.fuzz.mutate import Change, Mutant, mutant_of, plan_of

_UNDEFINED = 0xFFFFFFFF
_MEGABYTE = 1 << 20


def _element(keyword: str, value: bytes, length: int | None = None) -> bytes:
    """Encode with implicit VR."""
    tag = tag_for_keyword(keyword) or 0
    value += b" " * (len(value) % 2)
    head = struct.pack("<HHI", tag >> 16, tag & 0xFFFF, len(value) if length is None else length)
    return head + value


def _item(value: bytes) -> bytes:
    return struct.pack("<HHI", 0xFFFE, 0xE000, len(value)) + value


def _find(layout: Layout, *path: str | int) -> Element:
    return next(e for e in layout.elements if e.path == path)


def _set(layout: Layout, path: tuple[str | int, ...], value: bytes) -> list[Edit]:
    """Replace a value; the lengths around stay true (implicit VR)."""
    element = _find(layout, *path)
    value += b" " * (len(value) % 2)
    edits = [
        Edit(element.value.at, element.value.size, value),
        Edit(element.length_field.at, 4, struct.pack("<I", len(value))),
    ]
    return edits + layout.resized(element, len(value) - element.value.size)


def _bomb(kind: str, name: str, where: str, edits: list[Edit]) -> Mutant:
    # Several edits of one length field add up; here each field is edited once.
    return mutant_of(
        plan_of("implicit"), kind, Change(name, where, edits=tuple(edits), structural=True)
    )


def _layout(name: str) -> Layout:
    return plan_of("implicit").layouts[name]


# --- nests ---------------------------------------------------------------------------------------


def nest(name: str, keyword: str, depth: int, *, defined: bool) -> Mutant:
    """Put a sequence in a sequence in a sequence, in place of one that the reader opens."""
    tag = tag_for_keyword(keyword) or 0
    head = struct.pack("<HH", tag >> 16, tag & 0xFFFF)
    if defined:
        parts, size = [], 0
        for _ in range(depth):
            parts.append(head + struct.pack("<I", size + 8) + b"\xfe\xff\x00\xe0"
                         + struct.pack("<I", size))  # fmt: skip
            size += 16
        body = b"".join(reversed(parts))
    else:
        opened = head + b"\xff\xff\xff\xff" + b"\xfe\xff\x00\xe0" + b"\xff\xff\xff\xff"
        closed = b"\xfe\xff\x0d\xe0\0\0\0\0" + b"\xfe\xff\xdd\xe0\0\0\0\0"
        body = opened * depth + closed * depth
    layout = _layout(name)
    there = [e for e in layout.elements if e.path == (keyword,)]
    after = next((e for e in layout.elements if len(e.path) == 1 and e.tag > tag), None)
    at = there[0].start if there else after.start if after else len(layout.plain)
    size = there[0].size if there else 0
    words = f"{keyword} x {depth}, {'with' if defined else 'without'} lengths"
    return _bomb("nest", name, words, [Edit(at, size, body)])


# --- counts --------------------------------------------------------------------------------------


def counts(**values: bytes) -> Mutant:
    """Declare sizes that the pixels do not have."""
    layout = _layout("rtdose.dcm")
    edits = [edit for key, value in values.items() for edit in _set(layout, (key,), value)]
    where = ", ".join(f"{key} {value[:12]!r}" for key, value in values.items())
    return _bomb("huge count", "rtdose.dcm", where, edits)


def _offsets(count: int, step: float = 2.0) -> bytes:
    return "\\".join(f"{i * step:.6g}" for i in range(count)).encode()


def fine_grid(spacing: bytes) -> Mutant:
    """Put the samples so near each other that whoever samples at the grid's spacing starves."""
    return counts(PixelSpacing=spacing + b"\\" + spacing)


# --- streams -------------------------------------------------------------------------------------


def _zeros(megabytes: int) -> bytes:
    """Deflate zeros, a megabyte at a time with a full flush, so that the piece can be repeated."""
    packer = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)
    piece = packer.compress(bytes(_MEGABYTE)) + packer.flush(zlib.Z_FULL_FLUSH)
    return piece * megabytes


def deflate_bomb(name: str, megabytes: int, tag: tuple[int, int]) -> Mutant:
    """Put an element of many megabytes of zeros into a file of a few kilobytes."""
    plan = plan_of("deflated")
    layout = plan.layouts[name]
    data = plan.files[name]
    code = tag[0] << 16 | tag[1]
    kept = [e for e in layout.elements if len(e.path) == 1 and e.tag >= 0x00080000]
    before = [e for e in kept if e.tag < code]
    after = [e for e in kept if e.tag > code]
    split = before[-1].end if before else layout.meta_end
    first = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    start = layout.plain[layout.meta_end : split]
    start += struct.pack("<HH2sHI", *tag, b"OW", 0, megabytes * _MEGABYTE)
    stream = first.compress(start) + first.flush(zlib.Z_FULL_FLUSH) + _zeros(megabytes)
    last = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    rest = layout.plain[after[0].start :] if after else b""
    stream += last.compress(rest) + last.flush()
    whole = {name: data[: layout.meta_end] + stream + b"\0" * (len(stream) % 2)}
    where = f"{megabytes} MB of zeros in ({tag[0]:04X},{tag[1]:04X})"
    return mutant_of(plan, "deflate bomb", Change(name, where, whole=whole, structural=True))


# --- crowds --------------------------------------------------------------------------------------


def _contour(points: list[tuple[float, float, float]]) -> bytes:
    data = "\\".join(f"{v:.6g}" for point in points for v in point).encode()
    return _item(
        _element("ContourGeometricType", b"CLOSED_PLANAR")
        + _element("NumberOfContourPoints", str(len(points)).encode())
        + _element("ContourData", data)
    )


def contours(where: str, items: bytes) -> Mutant:
    """Give the cord other contours."""
    path = ("ROIContourSequence", 0, "ContourSequence")
    return _bomb("contour crowd", "rtstruct.dcm", where, _set(_layout("rtstruct.dcm"), path, items))


def tiny_contours(count: int) -> Mutant:
    """Draw many triangles of a tenth of a millimetre on a few planes."""
    one = [_contour([(0.1 * i, 0, z), (0.1 * i + 0.05, 0, z), (0.1 * i, 0.05, z)])
           for z in (-3.0, 0.0, 3.0) for i in range(50)]  # fmt: skip
    piece = b"".join(one)
    return contours(f"{count} triangles", piece * (count // len(one)))


def different_contours(count: int) -> Mutant:
    """Draw many small triangles, no two the same, on one plane."""
    side = math.isqrt(count) + 1
    drawn = [
        _contour([(0.2 * i, 0.2 * j, 0), (0.2 * i + 0.1, 0.2 * j, 0), (0.2 * i, 0.2 * j + 0.1, 0)])
        for i in range(side)
        for j in range(side)
    ][:count]
    drawn += [_contour([(0, 0, z), (5, 0, z), (0, 5, z)]) for z in (-3.0, 3.0)]
    return contours(f"{count} different triangles on a plane", b"".join(drawn))


def planes(count: int, gap: float) -> Mutant:
    drawn = [_contour([(0, 0, i * gap), (5, 0, i * gap), (0, 5, i * gap)]) for i in range(count)]
    return contours(f"{count} planes {gap:g} mm apart", b"".join(drawn))


def knot(count: int) -> Mutant:
    """Draw a polygon that crosses itself all over."""
    rng = random.Random(1)
    drawn = [
        _contour([(rng.uniform(-6, 6), rng.uniform(-6, 6), z) for _ in range(count)])
        for z in (-3.0, 0.0, 3.0)
    ]
    return contours(f"three knots of {count} points", b"".join(drawn))


def long_contour(count: int) -> Mutant:
    drawn = [
        _contour(
            [(5 * math.cos(6.28 * i / count), 5 * math.sin(6.28 * i / count), z)
             for i in range(count)]
        )
        for z in (-3.0, 0.0, 3.0)
    ]  # fmt: skip
    return contours(f"three circles of {count} points", b"".join(drawn))


def far_contours(size: float) -> Mutant:
    drawn = [_contour([(0, 0, z), (size, 0, z), (0, size, z)]) for z in (-3.0, 0.0, 3.0)]
    return contours(f"triangles of {size:g} mm", b"".join(drawn))


def many_rois(count: int) -> Mutant:
    """Name many structures that have no contours."""
    layout = _layout("rtstruct.dcm")
    sequence = _find(layout, "StructureSetROISequence")
    more = b"".join(
        _item(_element("ROINumber", str(100 + i).encode()) + _element("ROIName", b"X"))
        for i in range(count)
    )
    size = sequence.value.size + len(more)
    edits = [
        Edit(sequence.length_field.at, 4, struct.pack("<I", size)),
        Edit(sequence.end, 0, more),
    ]
    return _bomb("crowd", "rtstruct.dcm", f"{count} structures", edits)


def long_text(name: str, keyword: str, megabytes: int) -> Mutant:
    edits = _set(_layout(name), (keyword,), b"A" * (megabytes * _MEGABYTE))
    return _bomb("crowd", name, f"{megabytes} MB of {keyword}", edits)


def many_beams(count: int) -> Mutant:
    path = ("FractionGroupSequence", 0, "ReferencedBeamSequence")
    items = b"".join(_item(_element("ReferencedBeamNumber", str(i).encode())) for i in range(count))
    edits = _set(_layout("rtplan.dcm"), path, items)
    return _bomb("crowd", "rtplan.dcm", f"{count} beams", edits)


_PLACES = (
    ("rtstruct.dcm", "ROIContourSequence"),
    ("rtstruct.dcm", "StructureSetROISequence"),
    ("rtstruct.dcm", "RTROIObservationsSequence"),
    ("rtstruct.dcm", "OtherPatientIDsSequence"),
    ("rtdose.dcm", "ReferencedRTPlanSequence"),
    ("rtdose.dcm", "DVHSequence"),
    ("rtplan.dcm", "FractionGroupSequence"),
    ("rtplan.dcm", "DoseReferenceSequence"),
)

BOMBS: list[Callable[[], Mutant]] = [
    *(
        lambda p=place, d=depth, w=defined: nest(*p, d, defined=w)
        for place in _PLACES
        for depth in (20, 1000, 20000)
        for defined in (True, False)
    ),
    lambda: counts(Rows=b"\xff\xff", Columns=b"\xff\xff"),
    lambda: counts(NumberOfFrames=b"1000000000"),
    lambda: counts(NumberOfFrames=b"1000000", GridFrameOffsetVector=_offsets(1_000_000)),
    lambda: counts(GridFrameOffsetVector=_offsets(3_000_000)),
    lambda: counts(GridFrameOffsetVector=b"\\" * 20_000_000),
    lambda: counts(NumberOfFrames=b"9" * 4000),
    lambda: counts(Rows=b"\xff\xff", Columns=b"\xff\xff", NumberOfFrames=b"2147483647"),
    lambda: fine_grid(b"0.002"),
    lambda: fine_grid(b"1e-7"),
    lambda: fine_grid(b"1e7"),
    lambda: counts(GridFrameOffsetVector=_offsets(28, 0.01)),
    lambda: counts(GridFrameOffsetVector=_offsets(28, 1e5)),
    lambda: deflate_bomb("rtstruct.dcm", 3000, (0x0009, 0x1001)),
    lambda: deflate_bomb("rtdose.dcm", 3000, (0x7FE0, 0x0010)),
    lambda: deflate_bomb("rtdose.dcm", 3000, (0x0009, 0x1001)),
    lambda: deflate_bomb("rtplan.dcm", 1500, (0x300A, 0x0011)),
    lambda: tiny_contours(20_000),
    lambda: tiny_contours(1_000_000),
    lambda: different_contours(3_000),
    lambda: different_contours(30_000),
    lambda: planes(20_000, 0.5),
    lambda: planes(3_000, 0.06),
    lambda: planes(20, 1e6),
    lambda: knot(300),
    lambda: knot(3_000),
    lambda: long_contour(100_000),
    lambda: long_contour(1_000_000),
    lambda: far_contours(1e4),
    lambda: far_contours(1e9),
    lambda: far_contours(1e300),
    lambda: many_rois(10_000),
    lambda: many_rois(200_000),
    lambda: long_text("rtstruct.dcm", "PatientID", 200),
    lambda: long_text("rtdose.dcm", "DoseGridScaling", 100),
    lambda: long_text("rtplan.dcm", "RTPlanLabel", 100),
    lambda: many_beams(300_000),
]  # fmt: skip
# Those that are quick to make: for the tests that run with every change.
QUICK = [*range(0, 48, 5), 48, 49, 53, 57, 60, 61, 64, 66, 71, 75, 76, 77]
