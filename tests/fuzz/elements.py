"""Where everything lies in the bytes of a DICOM file, so that a mutation can be aimed.

A plain walk of a well-formed file: tags, VRs, lengths, values, sequence items and delimiters, at
every depth. pydicom's dictionary gives the VR where the file does not state it, and a test holds
the walk against what pydicom reads.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from pydicom.datadict import dictionary_VR, keyword_for_tag
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, ImplicitVRLittleEndian

UNDEFINED = 0xFFFFFFFF
_LONG = {b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"}
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
PIXEL_DATA, CONTOUR_DATA = 0x7FE00010, 0x30060050


class Field(NamedTuple):
    """A few bytes with one meaning."""

    at: int
    size: int


@dataclass(frozen=True)
class Element:
    """One element, or one sequence item (``vr`` is ``item``), from ``start`` to ``end``.

    ``path`` is made of keywords and item numbers; ``parents`` are the length fields of everything
    around it that states a length.
    """

    path: tuple[str | int, ...]
    tag: int
    vr: str
    start: int
    end: int
    vr_field: Field | None
    length_field: Field
    value: Field
    parents: tuple[Field, ...]
    undefined: bool

    @property
    def keyword(self) -> str:
        words = [word for word in self.path if isinstance(word, str)]
        return words[-1] if words else f"{self.tag:08X}"

    @property
    def name(self) -> str:
        return ".".join(str(word) for word in self.path)

    @property
    def size(self) -> int:
        return self.end - self.start


class Edit(NamedTuple):
    """Replace ``size`` bytes at ``at`` by ``new``."""

    at: int
    size: int
    new: bytes


@dataclass(frozen=True)
class Layout:
    """A file with its deflated part inflated, and where its elements lie."""

    plain: bytes
    meta_end: int
    little: bool
    explicit: bool
    deflated: bool
    elements: tuple[Element, ...]

    def order(self) -> str:
        return "<" if self.little else ">"

    def edited(self, edits: Iterable[Edit]) -> bytes:
        """Return the file with the edits made, deflated again where it was."""
        plain, meta_end = self.plain, self.meta_end
        for edit in sorted(edits, key=lambda e: e.at, reverse=True):
            plain = plain[: edit.at] + edit.new + plain[edit.at + edit.size :]
            if edit.at < self.meta_end:
                meta_end += len(edit.new) - edit.size
        return packed(plain, max(meta_end, 0)) if self.deflated else plain

    def resized(self, element: Element, change: int) -> list[Edit]:
        """Return the edits that keep the lengths around an element true."""
        edits = []
        for field in element.parents:
            form = self.order() + ("I" if field.size == 4 else "H")
            (old,) = struct.unpack_from(form, self.plain, field.at)
            size = max(0, min(old + change, 2 ** (8 * field.size) - 2))
            edits.append(Edit(field.at, field.size, struct.pack(form, size)))
        return edits

    def length_bytes(self, field: Field, length: int) -> bytes:
        little = "little" if self.little else "big"
        return (length % 2 ** (8 * field.size)).to_bytes(field.size, little)


def packed(plain: bytes, meta_end: int) -> bytes:
    """Deflate what follows the file meta information."""
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    body = packer.compress(plain[meta_end:]) + packer.flush()
    return plain[:meta_end] + body + b"\0" * (len(body) % 2)


def layout_of(data: bytes) -> Layout:
    """Walk a well-formed file."""
    if data[128:132] != b"DICM":
        elements = _Walk(data, little=True, explicit=False).elements(0, len(data))
        return Layout(data, 0, True, False, False, tuple(elements))
    head = _Walk(data, little=True, explicit=True)
    meta: list[Element] = []
    at = 132
    while data[at : at + 2] == b"\x02\x00":
        found = head.element(at, len(data), (), ())
        meta += found
        at = found[0].end
    syntax = next(e for e in meta if e.tag == 0x00020010)
    uid = data[syntax.value.at : syntax.value.at + syntax.value.size].decode().rstrip("\0 ")
    deflated = uid == DeflatedExplicitVRLittleEndian
    if deflated:
        data = data[:at] + zlib.decompress(data[at:], wbits=-zlib.MAX_WBITS)
    little, explicit = uid != ExplicitVRBigEndian, uid != ImplicitVRLittleEndian
    body = _Walk(data, little=little, explicit=explicit).elements(at, len(data))
    return Layout(data, at, little, explicit, deflated, (*meta, *body))


class _Walk:
    def __init__(self, data: bytes, *, little: bool, explicit: bool) -> None:
        self.data, self.explicit = data, explicit
        self.order = "<" if little else ">"

    def elements(
        self,
        at: int,
        end: int,
        path: tuple[str | int, ...] = (),
        parents: tuple[Field, ...] = (),
    ) -> list[Element]:
        found: list[Element] = []
        while at < end and self.tag(at) not in (_ITEM_END, _SEQUENCE_END):
            more = self.element(at, end, path, parents)
            found += more
            at = more[0].end
        return found

    def tag(self, at: int) -> int:
        group, element = struct.unpack_from(self.order + "HH", self.data, at)
        return int(group) << 16 | int(element)

    def long(self, at: int) -> int:
        return int(struct.unpack_from(self.order + "I", self.data, at)[0])

    def element(
        self, at: int, end: int, path: tuple[str | int, ...], parents: tuple[Field, ...]
    ) -> list[Element]:
        """Return an element and, after it, all that it holds."""
        tag = self.tag(at)
        path = (*path, keyword_for_tag(tag) or f"{tag:08X}")
        if self.explicit:
            code = self.data[at + 4 : at + 6]
            vr, vr_field = code.decode(), Field(at + 4, 2)
            field = Field(at + 8, 4) if code in _LONG else Field(at + 6, 2)
        else:
            vr, vr_field, field = _vr_of(tag), None, Field(at + 4, 4)
        form = self.order + ("I" if field.size == 4 else "H")
        (length,) = struct.unpack_from(form, self.data, field.at)
        value_at = field.at + field.size
        undefined = length == UNDEFINED
        inside: list[Element] = []
        if vr == "SQ" or undefined:
            around = parents if undefined else (*parents, field)
            limit = end if undefined else value_at + length
            inside, stop = self.items(value_at, limit, path, around, fragments=vr != "SQ")
            last = stop + 8 if undefined else limit
            value = Field(value_at, stop - value_at)
        else:
            value, last = Field(value_at, length), value_at + length
        whole = Element(path, tag, vr, at, last, vr_field, field, value, parents, undefined)
        return [whole, *inside]

    def items(
        self,
        at: int,
        end: int,
        path: tuple[str | int, ...],
        parents: tuple[Field, ...],
        *,
        fragments: bool,
    ) -> tuple[list[Element], int]:
        found: list[Element] = []
        number = 0
        while at < end and self.tag(at) == _ITEM:
            field, value_at = Field(at + 4, 4), at + 8
            length = self.long(at + 4)
            undefined = length == UNDEFINED
            here = (*path, number)
            inside: list[Element] = []
            if fragments:
                last = stop = value_at + length
            else:
                around = parents if undefined else (*parents, field)
                limit = end if undefined else value_at + length
                inside = self.elements(value_at, limit, here, around)
                stop = max((e.end for e in inside), default=value_at)
                last = stop + 8 if undefined else limit
            kind = "fragment" if fragments else "item"
            value = Field(value_at, stop - value_at)
            found.append(
                Element(here, _ITEM, kind, at, last, None, field, value, parents, undefined)
            )
            found += inside
            at, number = last, number + 1
        return found, at


def _vr_of(tag: int) -> str:
    try:
        return str(dictionary_VR(tag))[:2]
    except KeyError:
        return "UN"
