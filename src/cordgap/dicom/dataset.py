"""Open DICOM files and read attributes from them: the edge behind which pydicom stays.

Warnings of the DICOM library are silenced here; what matters of them becomes a finding where the
attribute is used. Whatever it raises becomes a :class:`~cordgap.errors.DicomError` that names the
file, never its folder (folders are often named after patients).
"""

from __future__ import annotations

import logging
import warnings
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.datadict import dictionary_VR
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset

from cordgap.errors import CordgapError, DicomError

_LOG = logging.getLogger("pydicom")

UNDEFINED_LENGTH = 0xFFFFFFFF
# Larger values stay on disk until they are asked for.
DEFER_BYTES = 1 << 20
# Larger than any dose that was met; small enough to leave room for the work itself.
MAX_INFLATED_BYTES = 1 << 29
_META_BYTES = 4096
MAX_TEXT_BYTES = 1 << 16
# Tags as little-endian bytes, what they stand for, and how many no plan exceeds: the largest
# structure sets that were met have some ten thousand contours and two hundred structures.
_CROWDS = {
    b"\x06\x30\x50\x00": ("contours", 250_000),
    b"\x06\x30\x26\x00": ("structures", 5_000),
    b"\x0a\x30\xc0\x00": ("beams", 5_000),
    b"\x0c\x30\x06\x00": ("references to beams", 20_000),
}
_DECIMAL_STRINGS = ("DS", "IS")
# Lists of numbers that are worth a faster parser, in bytes, and what such lists are made of.
_LONG_LIST = 200
# ... and where one number after the other is as quick as any.
_SHORT_LIST = 40
_OF_NUMBERS = b"0123456789+-.eE \\"
_DEFLATED = b"1.2.840.10008.1.2.1.99"
_GROUP_LENGTH = b"\x02\x00\x00\x00UL\x04\x00"
# DEFLATE packs at most 258 bytes into 2 bits.
_MAX_DEFLATE_RATIO = 1032


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn every failure inside the block into a DicomError that names the file.

    The log of the DICOM library is silenced too: it quotes values, names among them.
    """
    level = _LOG.level
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        _LOG.setLevel(logging.CRITICAL + 1)
        try:
            yield
        except CordgapError:
            raise
        except FileNotFoundError as error:
            raise DicomError(
                f"{path.name}: there is no such file", code="file-missing", file=path.name
            ) from error
        except Exception as error:
            raise DicomError(
                f"{path.name}: cannot be read as DICOM ({type(error).__name__}); the file is "
                "damaged or incomplete: export it again",
                code="file-damaged",
                file=path.name,
                found=type(error).__name__,
                action="export the file again",
            ) from error
        finally:
            _LOG.setLevel(level)


def open_dataset(
    path: Path, keywords: Sequence[str] | None = None, *, defer: bool = False
) -> Dataset:
    """Read a file, or only some attributes of it; call inside :func:`reading`.

    Files without preamble and file meta information are read too: whoever asks has checked that
    they are DICOM. With ``defer``, large values (pixels) stay on disk.

    Raises
    ------
    DicomError
        When a deflated file would fill the memory.
    """
    _refuse_bomb(path)
    tags = list(keywords) if keywords is not None else None
    return pydicom.dcmread(
        path, force=True, specific_tags=tags, defer_size=DEFER_BYTES if defer else None
    )


def _refuse_bomb(path: Path) -> None:
    """Refuse a deflated file that swells beyond any dose: it is inflated as a whole."""
    with path.open("rb") as stream:
        head = stream.read(_META_BYTES)
    at = head.find(_GROUP_LENGTH, 128)
    if _DEFLATED not in head or at < 0:
        return
    # The deflated part starts after the file meta information, whose length is its first value.
    start = at + 12 + int.from_bytes(head[at + 8 : at + 12], "little")
    status = path.stat()
    if (
        status.st_size * _MAX_DEFLATE_RATIO > MAX_INFLATED_BYTES
        and _inflated_bytes(path, start, status.st_mtime_ns) > MAX_INFLATED_BYTES
    ):
        raise DicomError(
            f"{path.name}: a deflated file of {status.st_size} bytes that grows beyond "
            f"{MAX_INFLATED_BYTES >> 20} MB; export the file uncompressed",
            code="file-too-large",
            file=path.name,
        )


@lru_cache(maxsize=64)
def _inflated_bytes(path: Path, start: int, _modified: int) -> int:
    """Count what a file inflates to, up to a little above the limit, in small blocks."""
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    size = 0
    with path.open("rb") as stream:
        stream.seek(start)
        while size <= MAX_INFLATED_BYTES and (block := stream.read(1 << 16)):
            while block and size <= MAX_INFLATED_BYTES:
                size += len(inflater.decompress(block, 1 << 22))
                block = inflater.unconsumed_tail
    return size


def refuse_crowd(path: Path) -> None:
    """Refuse a file with more items than any plan has, before they are made into objects.

    Raises
    ------
    DicomError
    """
    counts = dict.fromkeys(_CROWDS, 0)
    rest = b""
    with path.open("rb") as stream:
        while block := stream.read(1 << 22):
            block = rest + block
            for tag, found in _count_tags(block, tuple(counts)).items():
                counts[tag] += found
            rest = block[-3:]
    for tag, (what, limit) in _CROWDS.items():
        if counts[tag] > limit:
            raise DicomError(
                f"{path.name}: found {counts[tag]} {what}, expected at most {limit}; export the "
                "plan alone",
                code="file-too-large",
                file=path.name,
                found=f"{counts[tag]} {what}",
                expected=f"at most {limit}",
            )


def _count_tags(block: bytes, tags: Sequence[bytes]) -> dict[bytes, int]:
    """Count little-endian tags in bytes, in either byte order.

    They are looked for by their first byte, which text does not hold: a tenth of the time of
    counting the bytes of each.
    """
    data = np.frombuffer(block, np.uint8)
    # Room on both sides, so that every neighbour can be asked for.
    data = np.concatenate([np.zeros(1, np.uint8), data, np.zeros(3, np.uint8)])
    places = {first: np.flatnonzero(data == first) for first in {tag[0] for tag in tags}}
    counts = {}
    for tag in tags:
        at = places[tag[0]]
        little = [data[at + i] == tag[i] for i in (1, 2, 3)]
        big = [data[at + i] == value for i, value in ((-1, tag[1]), (1, tag[3]), (2, tag[2]))]
        counts[tag] = sum(int(np.logical_and.reduce(order).sum()) for order in (little, big))
    return counts


def text(ds: Dataset, keyword: str) -> str:
    """Return an attribute as stripped text; empty where it is absent.

    Raises
    ------
    DicomError
        Without file name, when it is longer than any text that is read here.
    """
    element: Any = ds.get_item(keyword)
    if isinstance(element, RawDataElement) and len(element.value or b"") > MAX_TEXT_BYTES:
        raise DicomError(f"{keyword} is longer than any text; the file is damaged")
    value = ds.get(keyword)
    return "" if value is None else str(value).strip().strip("\0").strip()


def text_parts(ds: Dataset, keyword: str) -> tuple[str, ...]:
    """Return the values of an attribute of several values as text; empty where it is absent."""
    value = ds.get(keyword)
    if value is None or value == "":
        return ()
    parts = (value,) if isinstance(value, str | bytes) else tuple(value)
    return tuple(str(part).strip().strip("\0") for part in parts)


def items(ds: Dataset, keyword: str) -> list[Dataset]:
    """Return the items of a sequence; empty where it is absent."""
    value = ds.get(keyword)
    return [] if value is None else list(value)


def _representation(element: RawDataElement) -> str:
    """Return the VR of an element; an implicit transfer syntax states none."""
    return str(element.VR or dictionary_VR(element.tag))


def numbers(ds: Dataset, keyword: str) -> tuple[float, ...] | None:
    """Return a numeric attribute of any multiplicity, or None where it is absent or empty.

    Raises
    ------
    DicomError
        Without file name, when a value is not a number; the caller knows the file.
    """
    element: Any = ds.get_item(keyword, keep_deferred=True)
    if isinstance(element, RawDataElement) and element.value is None and element.length:
        # Left on disk because of its size: no list of numbers that is read here is as long.
        raise DicomError(f"{keyword} holds {element.length} bytes, which makes no sense")
    try:
        if isinstance(element, RawDataElement) and _representation(element) in _DECIMAL_STRINGS:
            # As written: one decimal-string object for each number of a long list takes seconds.
            found = parse_decimals(element.value or b"")
            return tuple(found.tolist()) or None
        value = ds.get(keyword)
        if value is None or value == "" or value == b"":
            return None
        if isinstance(value, bytes):
            value = value.decode("ascii").strip("\0 ").split("\\")
        if isinstance(value, str) or not isinstance(value, Iterable):
            return (float(value),)
        return tuple(float(v) for v in value)
    except (ValueError, TypeError, ArithmeticError, NotImplementedError) as error:
        raise DicomError(f"{keyword} is not a number") from error


def parse_decimals(data: bytes) -> NDArray[np.float64]:
    """Parse numbers separated by backslashes.

    Raises
    ------
    ValueError
        When a value is not a finite number (an empty value between backslashes included).

    Examples
    --------
    >>> parse_decimals(b"1.5\\\\-2\\\\3e1 ").tolist()
    [1.5, -2.0, 30.0]
    """
    stripped = data.strip(b" \0\r\n\t")
    if not stripped:
        return np.empty(0)
    values = _parse_long(stripped) if len(stripped) > _LONG_LIST else None
    if values is None:
        values = _parse_any(stripped)
        if values.size != stripped.count(b"\\") + 1:
            raise ValueError("not a list of numbers")
    if not np.isfinite(values).all():
        raise ValueError("not a list of finite numbers")
    return values


def _parse_long(data: bytes) -> NDArray[np.float64] | None:
    """Parse by orjson, where it is installed and the numbers are written as JSON writes them.

    Four times as fast; every number that both read is the same.
    """
    loads = _json_loads()
    if loads is None or data.translate(None, _OF_NUMBERS):
        return None
    try:
        return np.array(loads(b"[%b]" % data.replace(b"\\", b",")), dtype=np.float64)
    except ValueError:
        return None


@cache
def _json_loads() -> Callable[[bytes], object] | None:
    """Look for orjson once: a module that is absent is searched for at every import."""
    try:
        from orjson import loads
    except ImportError:
        return None
    found: Callable[[bytes], object] = loads
    return found


def _parse_any(stripped: bytes) -> NDArray[np.float64]:
    if len(stripped) > _SHORT_LIST or stripped.translate(None, _OF_NUMBERS):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            try:
                return np.fromstring(stripped.decode("ascii"), dtype=np.float64, sep="\\")
            except DeprecationWarning:
                pass
    return np.array([float(v) for v in stripped.split(b"\\")])


def whole_number(ds: Dataset, keyword: str) -> int | None:
    """Return an integer attribute, or None where it is absent, empty or not one integer."""
    try:
        value = numbers(ds, keyword)
    except DicomError:
        return None
    if not value or len(value) > 1 or not value[0].is_integer():
        return None
    return int(value[0])


def raw_bytes(ds: Dataset, tag: int) -> bytes | None:
    """Return the value of an attribute as written, without decoding; None where it is absent."""
    element: Any = ds.get_item(tag)
    if element is None or element.value is None:
        return None
    value = element.value
    if isinstance(value, bytes):
        return value
    if isinstance(value, str) or not isinstance(value, Iterable):
        return str(value).encode("ascii", "replace")
    return "\\".join(str(v) for v in value).encode("ascii", "replace")


def is_cut(ds: Dataset) -> bool:
    """Tell whether the file ended inside one of the attributes that were read."""
    return any(
        isinstance(element, RawDataElement)
        and isinstance(element.value, bytes)
        and element.length != UNDEFINED_LENGTH
        and len(element.value) < element.length
        for element in ds.elements()
    )


def unique(values: Iterable[str]) -> tuple[str, ...]:
    """Return the non-empty values once each, in order."""
    return tuple(dict.fromkeys(v for v in values if v))
