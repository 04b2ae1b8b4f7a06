"""DVH of analytic cords: error against the closed form beside time, and a peer in the same run.

Each cord lies in a linear dose of 1 Gy/mm, so that an error in Gy is one in mm. cordgap and
dicompyler-core compute the same structure from the same files, one after the other; files are read
once before. Usage: python benchmarks/bench_dvh.py [--repeat N]
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import peer
from cordgap.dicom.read import read_case
from cordgap.dvh.integrate import compute_dvh
from cordgap.dvh.solid import build_solid
from cordgap.export.plan import write_plan
from cordgap.phantom import (
    CordShape,
    LinearDose,
    Sampling,
    cord_in_linear_dose,
    exact_cord_dose_gy,
)

CORDS = {
    "straight": CordShape(5.0),
    "tilted": CordShape(5.0, tilt=(0.05, 0.27)),
    "bent": CordShape(5.0, bend_per_mm=(0.0, 0.014)),
    "thin": CordShape(3.6, (2.13, -1.77), (0.11, -0.2)),
}
GRADIENTS = {"x": (1.0, 0.0, 0.0), "y": (0.0, 1.0, 0.0), "z": (0.0, 0.0, 1.0)}
PLANES_MM = (2.0, 3.0)
GRID_MM = 2.5
HOTTEST_CC = 0.035


def milliseconds(function: Callable[[], object]) -> float:
    start = time.perf_counter()
    function()
    return 1000 * (time.perf_counter() - start)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeat", type=int, default=5)
    repeat = parser.parse_args().repeat
    peer_version = peer.version()
    print(f"D0.035cc in 1 Gy/mm, dose grid {GRID_MM} mm; peer: {peer_version or 'not installed'}\n")
    print(f"{'cord':10}{'planes':>8}{'gradient':>10}{'cordgap':>12}{'peer':>12}"
          f"{'volume':>10}{'cordgap':>10}{'with ±':>10}{'peer':>10}{'ratio':>8}")  # fmt: skip
    print(f"{'':10}{'mm':>8}{'along':>10}{'error mm':>12}{'error mm':>12}"
          f"{'error %':>10}{'ms':>10}{'ms':>10}{'ms':>10}{'':>8}")  # fmt: skip
    worst, peers, ratios = [], [], []
    with tempfile.TemporaryDirectory() as folder:
        for name, cord in CORDS.items():
            for planes in PLANES_MM:
                for axis, gradient in GRADIENTS.items():
                    field = LinearDose(60.0, gradient)
                    sampling = Sampling(planes, 360, GRID_MM)
                    plan = Path(folder) / f"{name}-{planes}-{axis}"
                    phantom = cord_in_linear_dose(cord=cord, dose=field, sampling=sampling)
                    written = write_plan(phantom, plan)
                    exact = exact_cord_dose_gy(HOTTEST_CC, cord=cord, dose=field)
                    case = read_case(plan, with_image=False)
                    (structure,) = case.structures
                    solid = build_solid(structure)
                    dvh = compute_dvh(solid, case.dose)
                    error = dvh.dose_of_hottest_gy(HOTTEST_CC) - exact
                    volume = 100 * (dvh.total_volume_cc / cord.volume_cc - 1)
                    theirs, fast, full, slow = None, [], [], []
                    for _ in range(repeat):
                        fast.append(milliseconds(
                            lambda s=structure, c=case: compute_dvh(
                                build_solid(s), c.dose, uncertainty=False)
                        ))  # fmt: skip
                        full.append(milliseconds(
                            lambda s=structure, c=case: compute_dvh(build_solid(s), c.dose)
                        ))  # fmt: skip
                        if peer_version:
                            start = time.perf_counter()
                            theirs = peer.hottest_gy(
                                written.rtstruct, written.rtdose, structure.roi_number, HOTTEST_CC
                            )
                            slow.append(1000 * (time.perf_counter() - start))
                    ours_ms, full_ms = statistics.median(fast), statistics.median(full)
                    worst.append(abs(error))
                    line = f"{name:10}{planes:8.1f}{axis:>10}{error:12.4f}"
                    if theirs is None:
                        line += f"{'-':>12}{volume:10.3f}{ours_ms:10.1f}{full_ms:10.1f}{'-':>10}"
                    else:
                        slow_ms = statistics.median(slow)
                        peers.append(abs(theirs - exact))
                        ratios.append(slow_ms / ours_ms)
                        line += (f"{theirs - exact:12.4f}{volume:10.3f}{ours_ms:10.1f}"
                                 f"{full_ms:10.1f}{slow_ms:10.1f}{ratios[-1]:8.1f}")  # fmt: skip
                    print(line)
    print(f"\ncordgap: error median {statistics.median(worst):.4f}, worst {max(worst):.4f} mm")
    if peers:
        print(f"peer:    error median {statistics.median(peers):.4f}, worst {max(peers):.4f} mm; "
              f"{statistics.median(ratios):.0f} times the time (median)")  # fmt: skip


if __name__ == "__main__":
    main()
