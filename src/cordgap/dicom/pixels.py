"""Stored pixels of an RTDOSE, block by block.

Of an uncompressed little-endian file only the rows that a block needs are read; anything else
(deflated, big-endian, run-length encoded) is decoded once as a whole.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from cordgap.case.grid import Slices
from cordgap.dicom.dataset import (
    UNDEFINED_LENGTH,
    numbers,
    open_dataset,
    raw_bytes,
    whole_number,
)
from cordgap.dicom.geometry import FrameStack
from cordgap.errors import DicomError

_PIXEL_DATA = 0x7FE00010
_BIG_ENDIAN = "1.2.840.10008.1.2.2"
_DEFLATED = "1.2.840.10008.1.2.1.99"
_NATIVE = ("", "1.2.840.10008.1.2", "1.2.840.10008.1.2.1", _BIG_ENDIAN, _DEFLATED)

# A file whose largest possible value stays below this cannot hold a therapeutic dose.
MIN_FULL_SCALE_GY = 0.01
# Run-length encoding packs 128 equal bytes into 2; other methods come near it on zeros only.
_MAX_COMPRESSION = 1000

BlockReader = Callable[[Slices], NDArray[Any]]


def block_reader(ds: Dataset, path: Path, stack: FrameStack) -> BlockReader:
    """Check the pixels and return a function that reads a block (frame, row, column) of them."""
    file = path.name
    bits = whole_number(ds, "BitsAllocated")
    stored = whole_number(ds, "BitsStored") or bits
    if bits not in (8, 16, 32) or stored != bits or (whole_number(ds, "SamplesPerPixel") or 1) != 1:
        raise DicomError(
            f"{file}: found {stored} of {bits} bits in a pixel, expected 16 of 16 or 32 of 32 and "
            "one sample; export the dose again",
            code="dose-pixels-format",
            file=file,
            found=f"{stored} of {bits} bits",
            expected="16 of 16 or 32 of 32 bits",
        )
    if whole_number(ds, "PixelRepresentation") not in (0, None):
        raise DicomError(
            f"{file}: found signed pixels (PixelRepresentation 1), expected unsigned ones "
            "(PixelRepresentation 0); a signed dose is a difference of doses: export the dose "
            "itself",
            code="dose-pixels-signed",
            file=file,
            found="PixelRepresentation 1",
            expected="PixelRepresentation 0",
        )
    full_scale = (numbers(ds, "DoseGridScaling") or (0.0,))[0] * (2**bits - 1)
    if full_scale < MIN_FULL_SCALE_GY:
        raise DicomError(
            f"{file}: DoseGridScaling is too small: the largest dose that the file can hold is "
            f"{full_scale:.2g} Gy; export the dose again",
            code="dose-scaling",
            file=file,
        )
    element: Any = ds.get_item(_PIXEL_DATA, keep_deferred=True)
    if element is None:
        raise DicomError(
            f"{file}: the file holds no pixels (no PixelData); export the dose again",
            code="dose-pixels-missing",
            file=file,
        )
    syntax = str(getattr(ds, "file_meta", {}).get("TransferSyntaxUID", "") or "")
    dtype = np.dtype(f"<u{bits // 8}")
    expected = math.prod(stack.shape) * dtype.itemsize
    if syntax not in _NATIVE or element.length == UNDEFINED_LENGTH:
        if expected > _MAX_COMPRESSION * path.stat().st_size:
            raise DicomError(
                f"{file}: the compressed pixels cannot hold the {expected} bytes that the grid "
                f"needs: the file has {path.stat().st_size}; export the dose again",
                code="dose-pixels-truncated",
                file=file,
                found=f"{path.stat().st_size} bytes",
                expected=f"{expected} bytes",
            )
        return _decoded(path, stack.shape)
    compressed = syntax == _DEFLATED
    available = path.stat().st_size - element.value_tell
    got = element.length if compressed else min(element.length, available)
    if not expected <= got <= expected + 1:
        frames, rows, columns = stack.shape
        raise DicomError(
            f"{file}: the pixel data are truncated or do not fit the grid: found {got} bytes, "
            f"expected {expected} ({frames} frames x {rows} rows x {columns} columns x "
            f"{dtype.itemsize} bytes); export the dose again",
            code="dose-pixels-truncated",
            file=file,
            found=f"{got} bytes",
            expected=f"{expected} bytes",
            action="export the dose again",
        )
    big_endian = syntax == _BIG_ENDIAN or not ds.original_encoding[1]
    if compressed or big_endian:
        return _whole(path, dtype.newbyteorder(">") if big_endian else dtype, stack.shape)
    return _seeking(path, element.value_tell, dtype, stack.shape)


def ends_oddly(ds: Dataset, path: Path) -> bool:
    """Tell whether what follows the pixels cannot be a DICOM element.

    Bytes put into or left out of the pixels shift every sample after them; all that shows is that
    the file does not end where its lengths say. Compressed files cannot be asked.
    """
    element: Any = ds.get_item(_PIXEL_DATA, keep_deferred=True)
    syntax = str(getattr(ds, "file_meta", {}).get("TransferSyntaxUID", "") or "")
    if syntax == _DEFLATED or element.length == UNDEFINED_LENGTH:
        return False
    with path.open("rb") as stream:
        stream.seek(element.value_tell + element.length)
        following = stream.read(4)
    if not following:
        return False
    order = ">HH" if syntax == _BIG_ENDIAN else "<HH"
    return len(following) < 4 or struct.unpack(order, following) <= (0x7FE0, 0x0010)


def _seeking(
    path: Path, offset: int, dtype: np.dtype[Any], shape: tuple[int, int, int]
) -> BlockReader:
    _, rows, columns = shape

    def read(slices: Slices) -> NDArray[Any]:
        frames, wanted_rows, wanted_columns = slices
        height = wanted_rows.stop - wanted_rows.start
        block = np.empty((frames.stop - frames.start, height, columns), dtype=dtype)
        with path.open("rb") as stream:
            if height == rows:
                stream.seek(offset + frames.start * rows * columns * dtype.itemsize)
                read_bytes = stream.readinto(block.data.cast("B"))
            else:
                read_bytes = 0
                for index, frame in enumerate(range(frames.start, frames.stop)):
                    first = (frame * rows + wanted_rows.start) * columns
                    stream.seek(offset + first * dtype.itemsize)
                    read_bytes += stream.readinto(block[index].data.cast("B"))
        if read_bytes != block.nbytes:
            raise DicomError(
                f"{path.name}: the file changed while it was read",
                code="file-changed",
                file=path.name,
            )
        return block[:, :, wanted_columns]

    return read


def _whole(path: Path, dtype: np.dtype[Any], shape: tuple[int, int, int]) -> BlockReader:
    @cache
    def pixels() -> NDArray[Any]:
        data = raw_bytes(open_dataset(path, ("PixelData",)), _PIXEL_DATA) or b""
        expected = math.prod(shape) * dtype.itemsize
        if len(data) < expected:
            raise DicomError(
                f"{path.name}: the pixel data are truncated: found {len(data)} bytes, expected "
                f"{expected}; export the dose again",
                code="dose-pixels-truncated",
                file=path.name,
            )
        return np.frombuffer(data, dtype=dtype, count=math.prod(shape)).reshape(shape)

    return lambda slices: pixels()[slices]


def _decoded(path: Path, shape: tuple[int, int, int]) -> BlockReader:
    @cache
    def pixels() -> NDArray[Any]:
        ds = open_dataset(path)
        try:
            array = np.asarray(ds.pixel_array)
        except Exception as error:
            raise DicomError(
                f"{path.name}: the compressed pixels cannot be decoded "
                f"({type(error).__name__}); export the dose uncompressed",
                code="dose-pixels-compressed",
                file=path.name,
            ) from error
        if array.size != np.prod(shape):
            raise DicomError(
                f"{path.name}: the pixel data do not fit the grid: found {array.size} samples, "
                f"expected {math.prod(shape)}; export the dose again",
                code="dose-pixels-truncated",
                file=path.name,
            )
        return array.reshape(shape)

    return lambda slices: pixels()[slices]
