"""Reading of contours and folders: against a bare split of the bytes, and per file.

Run: python benchmarks/bench_reading.py [RTSTRUCT ...]

Without arguments a structure set of 60 structures is made. The bare split finds ContourData by its
tag, splits it at backslashes and turns it into floats: nothing can read contours and do less.
"""

from __future__ import annotations

import statistics
import struct
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom

from cordgap.dicom import discover
from cordgap.dicom.structures import read_structures
from cordgap.phantom import spine_case

REPEATS = 7
UNRELATED = 10_000
_CONTOUR_DATA = b"\x06\x30\x50\x00"


def bare_split(path: Path) -> int:
    """Split all contour data of a little-endian file; return the number of values."""
    data = path.read_bytes()
    at = values = 0
    while (at := data.find(_CONTOUR_DATA, at)) >= 0:
        explicit = data[at + 4 : at + 6]
        if explicit == b"DS":
            (length,), start = struct.unpack_from("<H", data, at + 6), at + 8
        elif explicit == b"UN":
            (length,), start = struct.unpack_from("<I", data, at + 8), at + 12
        else:
            (length,), start = struct.unpack_from("<I", data, at + 4), at + 8
        at = start + length
        values += np.array(data[start:at].strip(b" \0").split(b"\\"), dtype=np.float64).size
    return values


def element_values(path: Path) -> int:
    """Read all contour data through element values; return the number of values."""
    ds = pydicom.dcmread(path)
    return sum(
        len(contour.ContourData)
        for roi in ds.ROIContourSequence
        for contour in roi.get("ContourSequence", [])
    )


def seconds(work: Callable[[], object]) -> float:
    """Time one call."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def compare(path: Path) -> None:
    """Print how long each way takes, interleaved, as a multiple of the bare split."""
    ways: dict[str, Callable[[], object]] = {
        "bare split": lambda: bare_split(path),
        "cordgap, all structures": lambda: read_structures(path),
        "cordgap, the cord alone": lambda: read_structures(path, wanted=lambda n: "ord" in n),
        "element values": lambda: element_values(path),
    }
    times: dict[str, list[float]] = {name: [] for name in ways}
    for repeat in range(REPEATS):
        for name, work in ways.items():
            if name != "element values" or repeat < 2:
                times[name].append(seconds(work))
    least = min(times["bare split"])
    print(f"{path.name}: {path.stat().st_size / 1e6:.1f} MB, {bare_split(path)} values")
    for name, found in times.items():
        ratios = [t / b for t, b in zip(found, times["bare split"], strict=False)]
        spread = f"{min(ratios):.1f}-{max(ratios):.1f}"
        print(
            f"  {name:<26} {1e3 * min(found):8.1f} ms   {min(found) / least:5.1f} x "
            f"(pairs: median {statistics.median(ratios):.1f}, {spread})"
        )


def scan(folder: Path) -> None:
    """Print how long a folder of unrelated files takes."""
    for index in range(UNRELATED):
        place = folder / f"{index // 500:03d}"
        place.mkdir(exist_ok=True)
        (place / f"{index}.txt").write_bytes(b"nothing to see here\n" * 200)
    taken = seconds(lambda: discover(folder))
    print(f"folder of {UNRELATED} unrelated files: {taken:.2f} s")


def made(folder: Path) -> Path:
    """Write a structure set of many structures."""
    from dataclasses import replace

    from cordgap.export.plan import write_plan

    case = spine_case()
    copies = tuple(
        replace(
            s, roi_number=s.roi_number + 100 * i, roi_name=f"{s.roi_name} {i}" if i else s.roi_name
        )
        for i in range(20)
        for s in case.structures
    )
    write_plan(replace(case, structures=copies), folder)
    for path in folder.iterdir():
        if pydicom.dcmread(path, specific_tags=["Modality"]).get("Modality") == "RTSTRUCT":
            return path
    raise SystemExit("no structure set was written")


def main() -> None:
    """Compare the ways on each file."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        paths = [Path(a) for a in sys.argv[1:]]
        if not paths:
            (folder / "plan").mkdir()
            paths = [made(folder / "plan")]
        for path in paths:
            compare(path)
        (folder / "unrelated").mkdir()
        scan(folder / "unrelated")


if __name__ == "__main__":
    main()
