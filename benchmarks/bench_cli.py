"""From files to one number: whole cold processes, and how much of a large dose file is read.

``cordgap dvh`` of one cord against a Python process that does the same with dicompyler-core, one
after the other. Then a large RTDOSE: what is read of it for a cord alone, counted at the reads.
Usage: python benchmarks/bench_cli.py [--repeat N]
"""

from __future__ import annotations

import argparse
import builtins
import io
import os
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from unittest import mock

import numpy as np

import peer
from cordgap.case.grid import DoseGrid, GridGeometry
from cordgap.dicom.read import read_case
from cordgap.dvh.integrate import compute_dvh
from cordgap.dvh.solid import build_solid
from cordgap.export.plan import WrittenPlan, write_plan
from cordgap.phantom import CordShape, LinearDose, Sampling, cord_in_linear_dose

COMMAND = Path(sys.executable).parent / ("cordgap.exe" if os.name == "nt" else "cordgap")
LARGE_MM = 1.0
LARGE_HALF_MM = (180.0, 130.0, 130.0)


def plan_with_large_dose(folder: Path) -> WrittenPlan:
    """A cord of 48 mm in a dose of 360 x 260 x 260 mm, 1 mm apart."""
    phantom = cord_in_linear_dose(
        cord=CordShape(5.0), dose=LinearDose(300.0, (0.0, 1.0, 0.0)), sampling=Sampling(2.0)
    )
    axes = [np.arange(-half, half + 0.1, LARGE_MM) + 0.29 for half in LARGE_HALF_MM]
    geometry = GridGeometry(*axes)
    y = geometry.y_mm[None, :, None]
    values = np.broadcast_to(300.0 + y, geometry.shape)
    return write_plan(replace(phantom, dose=DoseGrid.from_array(geometry, values)), folder)


def seconds(*arguments: object) -> float:
    start = time.perf_counter()
    subprocess.run([str(a) for a in arguments], check=True, capture_output=True)
    return time.perf_counter() - start


@contextmanager
def counted_reads(file: Path):
    """Count the bytes that are read from one file, through any way of opening it."""

    class Counting(io.FileIO):
        total = 0

        def readinto(self, buffer):
            n = super().readinto(buffer)
            Counting.total += n or 0
            return n

        def read(self, size=-1):
            data = super().read(size)
            Counting.total += len(data or b"")
            return data

        def readall(self):
            data = super().readall()
            Counting.total += len(data or b"")
            return data

    plain = io.open

    def opening(path, mode="r", *rest, **how):
        if isinstance(path, str | os.PathLike) and mode == "rb" and Path(path) == file:
            return io.BufferedReader(Counting(path))
        return plain(path, mode, *rest, **how)

    with mock.patch.object(io, "open", opening), mock.patch.object(builtins, "open", opening):
        yield lambda: Counting.total


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeat", type=int, default=5)
    repeat = parser.parse_args().repeat
    with tempfile.TemporaryDirectory() as folder:
        small = write_plan(
            cord_in_linear_dose(
                cord=CordShape(5.0, tilt=(0.05, 0.2)),
                sampling=Sampling(2.0, dose_spacing_mm=2.0, dose_margin_mm=60.0),
            ),
            Path(folder) / "small",
        )
        large = plan_with_large_dose(Path(folder) / "large")
        for name, plan in (("ordinary", small), ("large", large)):
            size = plan.rtdose.stat().st_size / 1e6
            print(f"{name} dose file, {size:.1f} MB; whole processes, median of {repeat}:")
            ours, theirs = [], []
            for _ in range(repeat):
                ours.append(seconds(
                    COMMAND, "dvh", "--rtstruct", plan.rtstruct, "--rtdose", plan.rtdose,
                    "--structure", "SpinalCord", "--metric", "D0.035cc[Gy]", "--json", "-q",
                ))  # fmt: skip
                if peer.version():
                    theirs.append(seconds(
                        sys.executable, Path(__file__).with_name("peer.py"), plan.rtstruct,
                        plan.rtdose, 1, 0.035,
                    ))  # fmt: skip
            median = statistics.median(ours)
            print(f"  cordgap dvh          {median:6.2f} s")
            if theirs:
                other = statistics.median(theirs)
                print(f"  {peer.version():20} {other:6.2f} s   ratio {other / median:.1f}")
        print("\nread of the large dose file for the cord alone:")
        with counted_reads(large.rtdose) as read_so_far:
            case = read_case(
                rtstruct=large.rtstruct, rtdose=large.rtdose, with_image=False, with_hashes=False
            )
            opened = read_so_far()
            cord = build_solid(case.structure("SpinalCord"))
            compute_dvh(cord, case.dose)
            total = read_so_far()
        frames, rows, columns = case.dose.geometry.shape
        lower, upper = cord.bounds_mm
        z, y, _ = case.dose.geometry.slices_around(lower, upper, pad=4)
        needed = (z.stop - z.start) * (y.stop - y.start) * columns * 4
        size = large.rtdose.stat().st_size
        print(f"  frames around the cord      {z.stop - z.start} of {frames}")
        print(f"  rows around the cord        {y.stop - y.start} of {rows}")
        print(f"  bytes to open and check     {opened / 1e6:8.2f} MB")
        print(f"  bytes for the DVH           {(total - opened) / 1e6:8.2f} MB "
              f"(the block itself is {needed / 1e6:.2f} MB)")  # fmt: skip
        print(f"  share of the file           {100 * total / size:8.2f} % of {size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
