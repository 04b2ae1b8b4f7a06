"""Mutants of a good plan, each made from (seed, number) alone.

A kind of mutation is a function from a random generator and a plan to one :class:`Change`. Which
element is hit is drawn evenly over attributes first and over their occurrences second, or else
contour data would take nearly all hits.

Structural is everything but the bytes of PixelData and the digits of ContourData.

Longer than other files on purpose: one list of the kinds of damage, so that one that is missing is
seen, and none is tried twice.
"""

from __future__ import annotations

import random
import struct
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache

from tests.fuzz.bases import BASES, SLOW, Files, files_of
from tests.fuzz.elements import (
    CONTOUR_DATA,
    PIXEL_DATA,
    UNDEFINED,
    Edit,
    Element,
    Field,
    Layout,
    layout_of,
    packed,
)

_NUMERIC = ("DS", "IS", "US", "UL", "SS", "SL", "FL", "FD", "AT")
_TEXT = ("CS", "LO", "SH", "PN", "ST", "LT", "DA", "TM", "UT", "AS")
_DIGITS = frozenset(b"0123456789")


@dataclass(frozen=True)
class Plan:
    """A base plan with the layout of each file."""

    base: str
    files: Files
    layouts: dict[str, Layout]

    def main(self) -> list[str]:
        """Names of the files that carry numbers."""
        return [name for name in self.files if not name.startswith("ct")]


@dataclass(frozen=True)
class Change:
    """What a mutation did: edits of one file, or whole files (None removes one)."""

    file: str
    where: str
    old: str = ""
    new: str = ""
    edits: tuple[Edit, ...] = ()
    whole: dict[str, bytes | None] = field(default_factory=dict)
    structural: bool | None = None
    spike: bool = False


@dataclass(frozen=True)
class Mutant:
    """A mutant: its files, what was changed, and whether that is structure or payload."""

    base: str
    kind: str
    files: Files
    change: Change
    structural: bool

    def title(self) -> str:
        c = self.change
        return f"{self.base}/{c.file}: {self.kind} {c.where} {c.old} -> {c.new}".strip()


Kind = Callable[[random.Random, Plan], "Change | None"]


@cache
def plan_of(base: str) -> Plan:
    files = files_of(base)
    return Plan(base, files, {name: layout_of(data) for name, data in files.items()})


def make(seed: int, number: int, *, bases: Sequence[str] = tuple(BASES)) -> Mutant:
    """Return mutant ``number`` of a seed; always the same one."""
    rng = random.Random(f"{seed}/{number}")
    # Kinds and bases come round evenly; the rest is drawn.
    names = list(KINDS)
    often = [base for base in bases for _ in range(1 if base in SLOW else 4)]
    base = often[(number // len(names) + number) % len(often)]
    for shift in range(len(names)):
        kind = names[(number + shift) % len(names)]
        for _ in range(50):
            plan = plan_of(base)
            change = KINDS[kind](rng, plan)
            if change is not None:
                return mutant_of(plan, kind, change)
            base = rng.choice(list(bases))
        # None of these plans has what this kind damages: the next kind.
    raise AssertionError("no kind of mutation fits the base plans")


def mutant_of(plan: Plan, kind: str, change: Change) -> Mutant:
    files = dict(plan.files)
    if change.edits:
        files[change.file] = plan.layouts[change.file].edited(change.edits)
    for name, data in change.whole.items():
        files.pop(name, None)
        if data is not None:
            files[name] = data
    structural = change.structural
    if structural is None:
        structural = not (change.edits and _is_payload(plan.layouts[change.file], change.edits))
    return Mutant(plan.base, kind, files, change, structural)


def _is_payload(layout: Layout, edits: Iterable[Edit]) -> bool:
    """Whether all edits keep the size and touch payload only."""
    spans = [e for e in layout.elements if e.vr != "item" and _in_payload(e)]
    for edit in edits:
        inside = [
            e for e in spans
            if e.value.at <= edit.at and edit.at + edit.size <= e.value.at + e.value.size
        ]  # fmt: skip
        if not inside or len(edit.new) != edit.size:
            return False
        if inside[0].tag == CONTOUR_DATA:
            old = layout.plain[edit.at : edit.at + edit.size]
            if not (_DIGITS.issuperset(old) and _DIGITS.issuperset(edit.new)):
                return False
    return True


def _in_payload(element: Element) -> bool:
    if element.vr == "fragment":
        return True
    return element.tag in (PIXEL_DATA, CONTOUR_DATA) and not element.undefined


def truncations(bases: Sequence[str]) -> list[tuple[str, str, int]]:
    """List (base, file, length) of a cut at every element boundary of every file."""
    return [
        (base, name, at)
        for base in bases
        for name in plan_of(base).main()
        for at in sorted({e.start for e in plan_of(base).layouts[name].elements})
    ]


def cut_at(base: str, name: str, at: int) -> Mutant:
    """Return the mutant whose file ends before byte ``at`` (of the inflated file)."""
    plan = plan_of(base)
    layout = plan.layouts[name]
    head = next((e for e in layout.elements if e.start == at), None)
    where = f"before {head.name}" if head else f"at byte {at}"
    edit = Edit(at, len(layout.plain) - at, b"")
    return mutant_of(plan, "truncate at boundary", Change(name, where, edits=(edit,)))


# --- drawing -------------------------------------------------------------------------------------


def _pick(
    rng: random.Random, plan: Plan, wanted: Callable[[Element], bool] = lambda e: True
) -> tuple[str, Layout, Element] | None:
    """Draw a file, an attribute in it, and one of its occurrences."""
    name = rng.choice(plan.main())
    layout = plan.layouts[name]
    fitting: dict[tuple[str, ...], list[Element]] = {}
    for element in layout.elements:
        if wanted(element):
            words = tuple(word for word in element.path if isinstance(word, str))
            kind = "item" if element.vr == "item" else ""
            fitting.setdefault((*words, kind), []).append(element)
    if not fitting:
        return None
    return name, layout, rng.choice(fitting[rng.choice(list(fitting))])


def _is_plain(element: Element) -> bool:
    return element.vr not in ("SQ", "item", "fragment") and not element.undefined


def _raw(layout: Layout, span: Field) -> bytes:
    return layout.plain[span.at : span.at + span.size]


def _words(data: bytes) -> str:
    return repr(data[:40].decode("ascii", "backslashreplace"))[1:-1]


def _flipped(rng: random.Random, old: bytes) -> bytes:
    """Change one to three bytes: a bit, or anything."""
    new = bytearray(old)
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        at = rng.randrange(len(new))
        new[at] = new[at] ^ (1 << rng.randrange(8)) if rng.random() < 0.5 else rng.randrange(256)
    return bytes(new)


def _flip_of(part: str) -> Kind:
    def flip(rng: random.Random, plan: Plan) -> Change | None:
        found = _pick(rng, plan, lambda e: _span(e, part) is not None)
        if found is None:
            return None
        name, layout, element = found
        span = _span(element, part)
        assert span is not None
        old = _raw(layout, span)
        new = _flipped(rng, old)
        where = f"{part} of {element.name}"
        before, after = _difference(old, new) if part in ("number", "text", "UID") else (old, new)
        return Change(name, where, _words(before), _words(after), (Edit(span.at, span.size, new),))

    return flip


def _span(element: Element, part: str) -> Field | None:
    inside = element.vr in ("item", "fragment")
    if part == "tag":
        return Field(element.start, 4)
    if part == "VR":
        return element.vr_field
    if part == "length":
        return element.length_field
    if part == "item":
        return Field(element.start, 8) if inside else None
    if part == "delimiter":
        return Field(element.end - 8, 8) if element.undefined else None
    if element.value.size == 0 or inside or element.vr == "SQ" or _in_payload(element):
        return None
    kinds = {"number": _NUMERIC, "text": _TEXT, "UID": ("UI",)}
    return element.value if element.vr in kinds[part] else None


def flip_head(rng: random.Random, plan: Plan) -> Change | None:
    name = rng.choice(plan.main())
    layout = plan.layouts[name]
    if layout.meta_end == 0:
        return None
    at = rng.choice((128, 129, 130, 131, *range(132, layout.meta_end)))
    old = layout.plain[at : at + 1]
    new = _flipped(rng, old)
    return Change(name, f"byte {at} of the head", _words(old), _words(new), (Edit(at, 1, new),))


def flip_anything(rng: random.Random, plan: Plan) -> Change | None:
    """Change up to twenty bytes anywhere outside the payload."""
    name = rng.choice(plan.main())
    layout = plan.layouts[name]
    taken: set[int] = set()
    for element in layout.elements:
        if _in_payload(element):
            taken.update(range(element.value.at, element.value.at + element.value.size))
    free = [i for i in range(len(layout.plain)) if i not in taken]
    hit = sorted(rng.sample(free, min(len(free), rng.randint(2, 20))))
    edits = tuple(Edit(i, 1, bytes([rng.randrange(256)])) for i in hit)
    return Change(name, f"bytes {', '.join(map(str, hit[:5]))} ...", edits=edits, structural=True)


def flip_deflated(rng: random.Random, plan: Plan) -> Change | None:
    """Change a byte of a deflated stream, which has no checksum of its own."""
    names = [n for n in plan.main() if plan.layouts[n].deflated]
    if not names:
        return None
    name = rng.choice(names)
    layout, data = plan.layouts[name], plan.files[name]
    at = rng.randrange(layout.meta_end, len(data))
    new = data[:at] + _flipped(rng, data[at : at + 1]) + data[at + 1 :]
    structural = True
    try:
        plain = new[: layout.meta_end] + zlib.decompress(
            new[layout.meta_end :], wbits=-zlib.MAX_WBITS
        )
        if len(plain) == len(layout.plain):
            pairs = enumerate(zip(layout.plain, plain, strict=True))
            edits = [Edit(i, 1, plain[i : i + 1]) for i, (old, now) in pairs if old != now]
            structural = not edits or not _is_payload(layout, edits)
    except zlib.error:
        pass
    return Change(name, f"byte {at} of the stream", whole={name: new}, structural=structural)


# --- elements and items --------------------------------------------------------------------------


def _true_lengths(rng: random.Random) -> bool:
    """Mostly the lengths around are made true again: the file stays readable."""
    return rng.random() < 0.8


def _removable(element: Element) -> bool:
    return element.vr != "fragment"


def drop(rng: random.Random, plan: Plan) -> Change | None:
    found = _pick(rng, plan, lambda e: _removable(e) and e.vr != "item")
    return _dropped(rng, found) if found else None


def drop_item(rng: random.Random, plan: Plan) -> Change | None:
    found = _pick(rng, plan, lambda e: e.vr == "item")
    return _dropped(rng, found) if found else None


def _dropped(rng: random.Random, found: tuple[str, Layout, Element]) -> Change:
    name, layout, element = found
    edits = [Edit(element.start, element.size, b"")]
    if _true_lengths(rng):
        edits += layout.resized(element, -element.size)
    return Change(name, element.name, edits=tuple(edits), structural=True)


def double(rng: random.Random, plan: Plan) -> Change | None:
    found = _pick(rng, plan, lambda e: _removable(e) and e.vr != "item")
    return _doubled(rng, found) if found else None


def double_item(rng: random.Random, plan: Plan) -> Change | None:
    found = _pick(rng, plan, lambda e: e.vr == "item")
    return _doubled(rng, found) if found else None


def _doubled(rng: random.Random, found: tuple[str, Layout, Element]) -> Change:
    name, layout, element = found
    copy = layout.plain[element.start : element.end]
    edits = [Edit(element.end, 0, copy)]
    if _true_lengths(rng):
        edits += layout.resized(element, element.size)
    return Change(name, element.name, edits=tuple(edits), structural=True)


def empty(rng: random.Random, plan: Plan) -> Change | None:
    found = _pick(rng, plan, lambda e: _removable(e) and e.value.size > 0 and not e.undefined)
    if found is None:
        return None
    name, layout, element = found
    edits = [
        Edit(element.length_field.at, element.length_field.size,
             bytes(element.length_field.size)),
        Edit(element.value.at, element.value.size, b""),
    ]  # fmt: skip
    if _true_lengths(rng):
        edits += layout.resized(element, -element.value.size)
    return Change(name, element.name, edits=tuple(edits), structural=True)


def swap(rng: random.Random, plan: Plan) -> Change | None:
    """Exchange two elements, or two items, that follow each other."""
    found = _pick(rng, plan, lambda e: e.vr != "fragment")
    if found is None:
        return None
    name, layout, element = found
    after = next((e for e in layout.elements if e.start == element.end), None)
    if after is None or len(after.path) != len(element.path):
        return None
    data = layout.plain
    new = data[after.start : after.end] + data[element.start : element.end]
    edit = Edit(element.start, len(new), new)
    return Change(name, f"{element.name} and {after.name}", edits=(edit,), structural=True)


def length(rng: random.Random, plan: Plan) -> Change | None:
    found = _pick(rng, plan)
    if found is None:
        return None
    name, layout, element = found
    span = element.length_field
    old = int.from_bytes(_raw(layout, span), "little" if layout.little else "big")
    choices = (old + 1, old - 1, old + 2, old - 2, old * 2, 0, 2, 0x7FFFFFFF, UNDEFINED - 1,
               UNDEFINED, old + 8, 0xFFFF, len(layout.plain), element.size)  # fmt: skip
    value = rng.choice([c for c in choices if c != old])
    edit = Edit(span.at, span.size, layout.length_bytes(span, value))
    return Change(name, element.name, str(old), hex(value % (1 << 32)), (edit,))


# --- values --------------------------------------------------------------------------------------


def _replaced(
    layout: Layout, name: str, element: Element, new: bytes, *, spike: bool = False
) -> Change:
    """Put another value into an element, with every length around it true."""
    old = _raw(layout, element.value)
    padded = new + (b"\0" if element.vr in ("UI", "OB", "UN") else b" ") * (len(new) % 2)
    field = element.length_field
    if len(padded) >= 1 << (8 * field.size):
        padded = padded[: (1 << (8 * field.size)) - 2]
    edits = [Edit(element.value.at, element.value.size, padded)]
    if len(padded) != element.value.size:
        edits.append(Edit(field.at, field.size, layout.length_bytes(field, len(padded))))
        edits += layout.resized(element, len(padded) - element.value.size)
    before, after = _difference(old, padded)
    return Change(name, element.name, _words(before), _words(after), tuple(edits), spike=spike)


def _difference(old: bytes, new: bytes) -> tuple[bytes, bytes]:
    """Return what differs between two lists of values, where they are equally long."""
    a, b = old.rstrip(b" \0").split(b"\\"), new.rstrip(b" \0").split(b"\\")
    if len(a) != len(b) or len(a) < 4:
        return old.rstrip(b" \0"), new.rstrip(b" \0")
    pairs = [(i, x, y) for i, (x, y) in enumerate(zip(a, b, strict=True)) if x != y]
    return (
        b" ".join(b"[%d] %s" % (i, x) for i, x, _ in pairs),
        b" ".join(b"[%d] %s" % (i, y) for i, _, y in pairs),
    )


_TEXT_NUMBERS = (
    b"NaN", b"nan", b"inf", b"-inf", b"Infinity", b"1e308", b"-1e308", b"1e400", b"1e-320", b"-1",
    b"0", b"-0", b"", b" ", b"1e9", b"99999999999999999999", b"1,5", b"0x10", b"1_000", b"abc",
    b"1\\2\\3\\4\\5\\6\\7", b"\\", b"\\\\", b"1\\\\2", b"\xff\xfe", b"\0\0", b"+", b"1.5.2", b"1e",
    "\u0661".encode(), b"1 2", b"1" * 400, b"9" * 5000, b"- 1", b"0.1",
)  # fmt: skip


def bad_number(rng: random.Random, plan: Plan) -> Change | None:
    """Put something that is not a number, or an absurd one, where a number belongs."""
    found = _pick(rng, plan, lambda e: e.vr in ("DS", "IS") and e.value.size > 0)
    if found is None:
        return None
    name, layout, element = found
    parts = _raw(layout, element.value).rstrip(b" \0").split(b"\\")
    how = rng.random()
    if how < 0.6:
        parts[rng.randrange(len(parts))] = rng.choice(_TEXT_NUMBERS)
    elif how < 0.75:
        parts.pop(rng.randrange(len(parts)))
    elif how < 0.9:
        parts.insert(rng.randrange(len(parts) + 1), rng.choice(parts))
    else:
        parts = [rng.choice(_TEXT_NUMBERS)]
    return _replaced(layout, name, element, b"\\".join(parts))


def other_number(rng: random.Random, plan: Plan) -> Change | None:
    """Write another plausible number: a digit, the point, the sign, a factor, two exchanged."""
    found = _pick(
        rng, plan, lambda e: e.vr in ("DS", "IS") and e.value.size > 0 and e.tag != CONTOUR_DATA
    )
    if found is None:
        return None
    name, layout, element = found
    parts = _raw(layout, element.value).rstrip(b" \0").decode().split("\\")
    at = rng.randrange(len(parts))
    value, how = parts[at], rng.choice(("digit", "factor", "sign", "point", "step", "exchange"))
    if how == "digit":
        places = [i for i, c in enumerate(value) if c.isdigit()]
        i = rng.choice(places)
        value = value[:i] + rng.choice("0123456789") + value[i + 1 :]
    elif how == "sign":
        value = value[1:] if value.startswith("-") else "-" + value
    elif how == "exchange" and len(parts) > 1:
        other = rng.randrange(len(parts))
        value, parts[other] = parts[other], value
    elif element.vr == "IS":
        value = str(int(value) + rng.choice((-1, 1, 2, 10)))
    else:
        number = float(value)
        factor = {"factor": (0.01, 0.5, 2, 100), "point": (0.1, 10)}.get(how, (1,))
        step = (-5, -1, -0.1, 0.1, 1, 5) if how in ("step", "exchange") else (0,)
        value = f"{number * rng.choice(factor) + rng.choice(step):.10g}"
    parts[at] = value
    new = "\\".join(parts).encode()
    if new == _raw(layout, element.value).rstrip(b" \0"):
        return None
    return _replaced(layout, name, element, new)


def bad_binary(rng: random.Random, plan: Plan) -> Change | None:
    """Put extremes into a binary number, or another count of bytes."""
    found = _pick(rng, plan, lambda e: e.vr in ("US", "UL", "SS", "SL", "FL", "FD", "AT"))
    if found is None:
        return None
    name, layout, element = found
    size = element.value.size
    new = rng.choice(
        (b"\0" * size, b"\xff" * size, b"\x7f" + b"\xff" * (size - 1), b"\1" + b"\0" * (size - 1),
         b"\0" * (size - 1) + b"\1", b"\0" * (size * 2), b"\1" * (size + 1), b"\xff\x7f" * 3,
         struct.pack("<H", rng.randrange(65536)), b"\x40\0", b"\x10\0", b"\x08\0")
    )  # fmt: skip
    return _replaced(layout, name, element, new)


ENUMERATED: dict[str, tuple[bytes, ...]] = {
    "DoseUnits": (b"RELATIVE", b"CGY", b"gy", b"", b"Gy ", b"MGY"),
    "DoseType": (b"EFFECTIVE", b"ERROR", b"", b"physical", b"OTHER"),
    "DoseSummationType": (b"BEAM", b"FRACTION", b"MULTI_PLAN", b"PLAN_OVERVIEW", b"CONTROL_POINT",
                          b"BEAM_SESSION", b"BRACHY", b"RECORD", b"", b"plan"),
    "ContourGeometricType": (b"POINT", b"OPEN_PLANAR", b"OPEN_NONPLANAR", b"CLOSEDPLANAR_XOR",
                             b"CLOSED_NONPLANAR", b"", b"closed_planar", b"INTERPOLATED_PLANAR"),
    "PhotometricInterpretation": (b"MONOCHROME1", b"RGB", b"PALETTE COLOR", b""),
    "PatientPosition": (b"HFP", b"FFS", b"FFP", b"HFDL", b"SITTING", b""),
    "DoseReferenceType": (b"ORGAN_AT_RISK", b"", b"target"),
    "DoseReferenceStructureType": (b"POINT", b"VOLUME", b"COORDINATES", b"", b"SITE2"),
    "TreatmentDeliveryType": (b"SETUP", b"CONTINUATION", b"", b"OPEN_PORTFILM"),
    "Modality": (b"RTPLAN", b"RTDOSE", b"CT", b"MR", b""),
    "RTROIInterpretedType": (b"PTV", b"ORGAN", b"EXTERNAL", b"", b"AVOIDANCE"),
    "ROIName": (b"SpinalCord", b"GTV", b"PTV", b"CTV", b"SpinalCord_PRV02", b"Canal", b"", b"x",
                b"SpinalCord2", b"Cord", b"spinalcord ", b"GTV\\PTV", b"\xe4\xf6\xfc", b"G" * 70,
                b"\x1b$B\x25\x22", b"ThecalSac", b"CaudaEquina"),
    "SOPClassUID": (b"1.2.840.10008.5.1.4.1.1.481.3", b"1.2.840.10008.5.1.4.1.1.481.2",
                    b"1.2.840.10008.5.1.4.1.1.481.5", b"1.2.840.10008.5.1.4.1.1.481.8",
                    b"1.2.840.10008.5.1.4.1.1.2", b"1.2.840.10008.5.1.4.1.1.481.6", b""),
    "MediaStorageSOPClassUID": (b"1.2.840.10008.5.1.4.1.1.481.3", b"1.2.840.10008.5.1.4.1.1.2",
                                b"1.2.840.10008.5.1.4.1.1.481.2", b""),
    "TransferSyntaxUID": (b"1.2.840.10008.1.2", b"1.2.840.10008.1.2.1", b"1.2.840.10008.1.2.2",
                          b"1.2.840.10008.1.2.1.99", b"1.2.840.10008.1.2.5", b"1.2.3.4", b"",
                          b"1.2.840.10008.1.2.4.50", b"1.2.840.10008.1.2.4.90"),
    "ImageOrientationPatient": (b"-1\\0\\0\\0\\-1\\0", b"0\\1\\0\\1\\0\\0", b"1\\0\\0\\0\\-1\\0",
                                b"-1\\0\\0\\0\\1\\0", b"1\\0\\0\\0\\0\\1", b"0\\0\\0\\0\\0\\0",
                                b"1\\0\\0\\1\\0\\0", b"2\\0\\0\\0\\2\\0", b"1\\0.1\\0\\-0.1\\1\\0",
                                b"1\\0\\0\\0\\1", b"NaN\\0\\0\\0\\1\\0"),
    "BitsAllocated": (b"\x08\0", b"\x20\0", b"\x40\0", b"\x0c\0", b"\0\0", b"\x01\0"),
    "BitsStored": (b"\x08\0", b"\x0c\0", b"\x20\0", b"\0\0", b"\x0f\0"),
    "HighBit": (b"\x07\0", b"\x0b\0", b"\0\0", b"\x1f\0", b"\x0e\0"),
    "PixelRepresentation": (b"\1\0", b"\2\0", b"\xff\xff"),
    "SamplesPerPixel": (b"\3\0", b"\0\0", b"\4\0"),
    "FrameIncrementPointer": (b"\0\0\0\0", b"\x18\0\x63\x10"),
    "NumberOfContourPoints": (b"3", b"0", b"-1", b"14.0", b"", b"999999999999"),
    "DoseGridScaling": (b"0", b"-0.001", b"1e-12", b"1e3", b"NaN", b"1e-1", b"", b"1e-5"),
    "TargetPrescriptionDose": (b"0", b"-24", b"2400", b"NaN", b"inf", b"24\\30", b"", b"1e-9"),
    "NumberOfFractionsPlanned": (b"0", b"-2", b"1", b"5", b"99999", b"", b"2.5", b"2\\3"),
}  # fmt: skip


def enumerated(rng: random.Random, plan: Plan) -> Change | None:
    """Put another of the values that an attribute may have, or one it may not."""
    found = _pick(rng, plan, lambda e: e.keyword in ENUMERATED and _is_plain(e))
    if found is None:
        return None
    name, layout, element = found
    new = rng.choice(ENUMERATED[element.keyword])
    if element.vr == "US" and not layout.little:
        new = new[::-1]
    old = _raw(layout, element.value).rstrip(b" \0")
    return None if new == old else _replaced(layout, name, element, new)


def character_set(rng: random.Random, plan: Plan) -> Change | None:
    """State a character set, right or absurd, and write a name in another one."""
    name = rng.choice(plan.main())
    layout = plan.layouts[name]
    first = next(e for e in layout.elements if e.tag >= 0x00080016)
    value = rng.choice(
        (b"ISO_IR 100", b"ISO_IR 192", b"ISO 2022 IR 87", b"GB18030", b"NONSENSE", b"\\ISO_IR 13",
         b"ISO_IR 192\\ISO_IR 100", b"\xff\xff")
    )  # fmt: skip
    value += b" " * (len(value) % 2)
    tag = struct.pack(layout.order() + "HH", 8, 5)
    size = struct.pack(layout.order() + ("H" if layout.explicit else "I"), len(value))
    edits = [Edit(first.start, 0, tag + (b"CS" if layout.explicit else b"") + size + value)]
    texts = [e for e in layout.elements if e.vr in ("LO", "SH", "PN") and e.value.size > 3]
    text = rng.choice(texts) if texts and rng.random() < 0.5 else None
    if text is not None:
        garbage = rng.choice((b"\xc3\x28", b"\xe4\xf6", b"\x1b$", b"\x81\x30", b"\0\0"))
        at = text.value.at + rng.randrange(text.value.size - 2)
        edits.append(Edit(at, 2, garbage))
    where = f"SpecificCharacterSet{f' and {text.name}' if text else ''}"
    return Change(name, where, "", _words(value), tuple(edits), structural=True)


def wrong_vr(rng: random.Random, plan: Plan) -> Change | None:
    """State another VR of the same header size."""
    found = _pick(rng, plan, lambda e: e.vr_field is not None)
    if found is None or found[2].vr_field is None:
        return None
    name, _, element = found
    long = element.length_field.at - element.start == 8
    vrs = ("OB", "OW", "UN", "UT", "SQ", "OF") if long else ("DS", "IS", "LO", "US", "FD", "CS",
                                                             "UI", "SL", "AT", "PN")  # fmt: skip
    new = rng.choice([vr for vr in vrs if vr != element.vr]).encode()
    assert element.vr_field is not None
    return Change(
        name, element.name, element.vr, new.decode(), (Edit(element.vr_field.at, 2, new),)
    )


def exchange_uids(rng: random.Random, plan: Plan) -> Change | None:
    """Put the UID of one place into another one of the same file, or another UID altogether."""
    found = _pick(rng, plan, lambda e: e.vr == "UI" and e.value.size > 0)
    other = _pick(rng, plan, lambda e: e.vr == "UI" and e.value.size > 0)
    if found is None or other is None:
        return None
    name, layout, element = found
    new = rng.choice((_raw(other[1], other[2].value), b"1.2.3.4.5", b"0", b"1." + b"9" * 80))
    new = new.rstrip(b"\0")
    if new == _raw(layout, element.value).rstrip(b"\0"):
        return None
    return _replaced(layout, name, element, new)


_NUMBERS_OF = (
    "ROINumber", "ReferencedROINumber", "ReferencedBeamNumber", "BeamNumber", "FractionGroupNumber",
    "ReferencedFractionGroupNumber", "DoseReferenceNumber", "ContourNumber", "ObservationNumber",
)  # fmt: skip


def exchange_numbers(rng: random.Random, plan: Plan) -> Change | None:
    """Exchange two numbers that link things: structures with each other, or beams."""
    found = _pick(rng, plan, lambda e: e.keyword in _NUMBERS_OF)
    if found is None:
        return None
    name, layout, one = found
    same = [
        e for e in layout.elements
        if e.keyword == one.keyword and e.value.size == one.value.size
        and _raw(layout, e.value) != _raw(layout, one.value)
    ]  # fmt: skip
    if not same:
        return None
    other = rng.choice(same)
    a, b = _raw(layout, one.value), _raw(layout, other.value)
    edits = [Edit(one.value.at, one.value.size, b)]
    if rng.random() < 0.7:
        edits.append(Edit(other.value.at, other.value.size, a))
    where = f"{one.name} and {other.name}" if len(edits) > 1 else one.name
    return Change(name, where, _words(a), _words(b), tuple(edits), structural=True)


# --- files ---------------------------------------------------------------------------------------


def truncate(rng: random.Random, plan: Plan) -> Change | None:
    """Cut a file at an element boundary or anywhere, inflated or as it is."""
    name = rng.choice(plan.main())
    layout = plan.layouts[name]
    if layout.deflated and rng.random() < 0.3:
        data = plan.files[name]
        at = rng.randrange(len(data))
        return Change(name, f"at byte {at} of the stream", whole={name: data[:at]}, structural=True)
    if rng.random() < 0.5:
        element = rng.choice(layout.elements)
        at, where = element.start, f"before {element.name}"
    else:
        at = rng.randrange(len(layout.plain))
        inside = [e for e in layout.elements if e.start <= at < e.end]
        where = f"inside {inside[-1].name}" if inside else f"at byte {at}"
    return Change(name, where, edits=(Edit(at, len(layout.plain) - at, b""),), structural=True)


def append(rng: random.Random, plan: Plan) -> Change | None:
    name = rng.choice(plan.main())
    data = plan.files[name]
    more = rng.choice((b"\0" * 512, bytes(rng.randrange(256) for _ in range(100)), data, b"\r\n"))
    change = {name: data + more}
    return Change(name, "at the end", "", f"{len(more)} bytes", whole=change, structural=True)


def files_changed(rng: random.Random, plan: Plan) -> Change | None:
    """Remove, empty, double, exchange or replace whole files."""
    names = plan.main()
    name = rng.choice(names)
    data = plan.files[name]
    how = rng.choice(("remove", "empty", "copy", "exchange", "text", "other plan", "changed copy",
                      "zeros", "other plan beside"))  # fmt: skip
    whole: dict[str, bytes | None]
    if how == "remove":
        whole = {name: None}
    elif how == "empty":
        whole = {name: b""}
    elif how == "copy":
        whole = {"copy.dcm": data}
    elif how == "exchange":
        other = rng.choice([n for n in names if n != name])
        whole = {name: plan.files[other], other: data}
    elif how == "text":
        whole = {name: b"DICM is not what this is\n" * 20}
    elif how == "zeros":
        whole = {name: bytes(len(data))}
    elif how == "changed copy":
        layout = plan.layouts[name]
        element = next(e for e in reversed(layout.elements) if e.value.size and _is_plain(e))
        whole = {"copy.dcm": layout.edited([Edit(element.value.at, 1, b"7")])}
    else:
        base = rng.choice([b for b in BASES if b != plan.base])
        there = {n: d for n, d in files_of(base).items() if not n.startswith("ct")}
        other = rng.choice(list(there))
        whole = {f"z_{other}" if how == "other plan beside" else name: there[other]}
        how = f"{how} ({base}/{other})"
    return Change(name, how, whole=whole, structural=True)


# --- payload -------------------------------------------------------------------------------------


def contour_digit(rng: random.Random, plan: Plan) -> Change | None:
    """Write another digit in a coordinate."""
    found = _pick(rng, plan, lambda e: e.tag == CONTOUR_DATA)
    if found is None:
        return None
    name, layout, element = found
    value = _raw(layout, element.value)
    at = rng.choice([i for i, byte in enumerate(value) if byte in _DIGITS])
    new = str(rng.randrange(10)).encode()
    if new == value[at : at + 1]:
        return None
    edit = Edit(element.value.at + at, 1, new)
    before = value[at : at + 1].decode()
    return Change(name, element.name, before, new.decode(), (edit,), spike=True)


def vertex_spike(rng: random.Random, plan: Plan) -> Change | None:
    """Move one vertex far away in its plane, in the room that its digits leave."""
    found = _pick(rng, plan, lambda e: e.tag == CONTOUR_DATA)
    if found is None:
        return None
    name, layout, element = found
    parts = _raw(layout, element.value).rstrip(b" ").decode().split("\\")
    vertex, axis = rng.randrange(len(parts) // 3), rng.randrange(2)
    old = parts[3 * vertex + axis]
    moved = float(old) + rng.choice((-1, 1)) * rng.uniform(2, 40)
    parts[3 * vertex + axis] = f"{moved:.2f}"
    change = _replaced(layout, name, element, "\\".join(parts).encode(), spike=True)
    return Change(name, f"{element.name} vertex {vertex}", old, f"{moved:.2f}", change.edits,
                  structural=False, spike=True)  # fmt: skip


def _pixels(rng: random.Random, plan: Plan) -> tuple[str, Layout, Element] | None:
    return _pick(rng, plan, lambda e: e.tag == PIXEL_DATA and _is_plain(e))


def pixel_bytes(rng: random.Random, plan: Plan) -> Change | None:
    """Change a few bytes of the pixels."""
    found = _pick(rng, plan, lambda e: (e.tag == PIXEL_DATA and _is_plain(e)) or e.vr == "fragment")
    if found is None or found[2].value.size == 0:
        return None
    name, _, element = found
    edits = []
    for _ in range(rng.choice((1, 1, 2, 10, 100))):
        at = element.value.at + rng.randrange(element.value.size)
        edits.append(Edit(at, 1, bytes([rng.randrange(256)])))
    unique = tuple({e.at: e for e in edits}.values())
    one = len(unique) == 1 and element.vr != "fragment"
    return Change(name, element.name, "", f"{len(unique)} bytes", unique, spike=one)


def _at_cord(rng: random.Random, plan: Plan, layout: Layout) -> int:
    """Return the voxel of an axial grid that is next to some vertex of the first structure."""

    def listed(keyword: str) -> list[float]:
        element = next(e for e in layout.elements if e.path == (keyword,))
        return [float(v) for v in _raw(layout, element.value).rstrip(b" ").split(b"\\")]

    def count(keyword: str) -> int:
        element = next(e for e in layout.elements if e.path == (keyword,))
        return int.from_bytes(_raw(layout, element.value), "little" if layout.little else "big")

    contours = plan.layouts["rtstruct.dcm"]
    first = [e for e in contours.elements if e.tag == CONTOUR_DATA and e.path[1] == 0]
    values = _raw(contours, rng.choice(first).value).rstrip(b" ").split(b"\\")
    vertex = 3 * rng.randrange(len(values) // 3)
    x, y, z = (float(v) for v in values[vertex : vertex + 3])
    position, offsets = listed("ImagePositionPatient"), listed("GridFrameOffsetVector")
    row_mm, column_mm = listed("PixelSpacing")
    rows, columns = count("Rows"), count("Columns")
    column = min(max(round((x - position[0]) / column_mm), 0), columns - 1)
    row = min(max(round((y - position[1]) / row_mm), 0), rows - 1)
    levels = [abs(o - offsets[0] + position[2] - z) for o in offsets]
    return (levels.index(min(levels)) * rows + row) * columns + column


def voxel_spike(rng: random.Random, plan: Plan) -> Change | None:
    """Give one voxel a much higher or lower value."""
    found = _pixels(rng, plan)
    if found is None:
        return None
    name, layout, element = found
    bits = next(e for e in layout.elements if e.keyword == "BitsAllocated")
    size = int.from_bytes(_raw(layout, bits.value), "little" if layout.little else "big") // 8
    form = layout.order() + {2: "H", 4: "I"}[size]
    count = element.value.size // size
    values = struct.unpack_from(f"{layout.order()}{count}{form[1]}", layout.plain, element.value.at)
    top = max(values)
    at = _at_cord(rng, plan, layout) if rng.random() < 0.8 else rng.randrange(count)
    at = min(max(at, 0), count - 1)
    new = int(rng.choice((0, top, 2 * top, 4 * top, values[at] + 0.3 * top, values[at] * 1.5)))
    new = min(new, 2 ** (8 * size) - 1)
    if new == values[at]:
        return None
    edit = Edit(element.value.at + at * size, size, struct.pack(form, new))
    return Change(name, f"voxel {at}", str(values[at]), str(new), (edit,), spike=True)


KINDS: dict[str, Kind] = {
    "flip tag": _flip_of("tag"),
    "flip VR": _flip_of("VR"),
    "flip length": _flip_of("length"),
    "flip number": _flip_of("number"),
    "flip text": _flip_of("text"),
    "flip UID": _flip_of("UID"),
    "flip item": _flip_of("item"),
    "flip delimiter": _flip_of("delimiter"),
    "flip head": flip_head,
    "flip anything": flip_anything,
    "flip deflated": flip_deflated,
    "drop element": drop,
    "drop item": drop_item,
    "double element": double,
    "double item": double_item,
    "empty element": empty,
    "swap neighbours": swap,
    "change length": length,
    "bad number": bad_number,
    "bad number again": bad_number,
    "other number": other_number,
    "bad binary": bad_binary,
    "enumerated value": enumerated,
    "enumerated value again": enumerated,
    "character set": character_set,
    "wrong VR": wrong_vr,
    "exchange UIDs": exchange_uids,
    "exchange numbers": exchange_numbers,
    "truncate": truncate,
    "append": append,
    "files": files_changed,
    "contour digit": contour_digit,
    "vertex spike": vertex_spike,
    "pixel bytes": pixel_bytes,
    "voxel spike": voxel_spike,
}

__all__ = ["KINDS", "Change", "Mutant", "cut_at", "make", "packed", "plan_of", "truncations"]
