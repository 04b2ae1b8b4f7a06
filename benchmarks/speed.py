"""How long DVHs take, beside dicompyler-core's fastest setting in the same run, and how far off.

Each repetition runs every program once, one after the other; a ratio is formed in each repetition,
and printed as its median with the quartiles. The peer's setting is ``use_structure_extents=True``
on data sets that are already read, unless reading is part of the work.

Usage: python benchmarks/speed.py [--quick] [--json FILE] [--markdown]
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path

import numpy as np

import peer
import speed_cases as cases
from cordgap import __version__
from cordgap.case.grid import DoseGrid, GridGeometry
from cordgap.dicom.read import read_case
from cordgap.dvh.integrate import choose_pitch_mm, compute_dvh
from cordgap.dvh.solid import build_solid
from cordgap.phantom.shapes import at_height, circle, make_structure

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
PAGE = ROOT / "docs" / "validation.md"
RATIOS = HERE / "speed_ratios.json"
BREAST = Path(os.environ.get("CORDGAP_BREAST", ROOT.parent / "shared/data/real/dicompyler_breast"))
HAS_NUMBA = importlib.util.find_spec("numba") is not None
HOTTEST_CC = cases.HOTTEST_CC
COMMAND = "from cordgap.cli.main import run; run()"
# A ratio below this share of the recorded one fails the guard.
LEAST_SHARE = 0.5
# Coarser than the default, to be asked for: within 0.1 mm and 0.03 mm on the cord of A.
COARSE_MM, MIDDLE_MM = 1.7, 1.5


@dataclass(frozen=True)
class Row:
    """One program on one piece of work. Ratios are peer time over own time."""

    work: str
    program: str
    ms: float
    ratio: float | None = None
    ratio_low: float | None = None
    ratio_high: float | None = None
    error: str = ""


def milliseconds(function: Callable[[], object]) -> float:
    """Processor time of this thread and of child processes: other work hardly moves it.

    Of the thread, because idle helpers of the linear algebra spin on for a while after their work.
    """
    start = sum(os.times()[2:4])
    before = time.thread_time()
    function()
    return 1000 * (time.thread_time() - before + sum(os.times()[2:4]) - start)


def race(
    work: str, programs: dict[str, Callable[[], object]], *, against: str, repeat: int
) -> list[Row]:
    """Run programs in turn, after one round that does not count."""
    for function in programs.values():
        function()
    taken: dict[str, list[float]] = {name: [] for name in programs}
    for _ in range(repeat):
        for name, function in programs.items():
            taken[name].append(milliseconds(function))
    rows = []
    for name, times in taken.items():
        row = Row(work, name, statistics.median(times))
        if against in taken and name != against:
            ratios = [p / t for p, t in zip(taken[against], times, strict=True)]
            low, middle, high = np.quantile(ratios, (0.25, 0.5, 0.75))
            row = replace(row, ratio=middle, ratio_low=low, ratio_high=high)
        rows.append(row)
    return rows


def engines() -> list[str]:
    return ["numpy", "compiled"] if HAS_NUMBA else ["numpy"]


def peer_name() -> str:
    return f"{peer.version()}, extents" if peer.version() else ""


def cord(repeat: int = 15) -> list[Row]:
    """A, contours in memory."""
    case = cases.case_a()
    (structure,) = case.structures
    assert case.dose is not None
    dose, work = case.dose, "A: cord, contours in memory"
    exact, slope = cases.truth_a()
    programs: dict[str, Callable[[], object]] = {}
    errors: dict[str, str] = {}
    values: dict[str, float] = {}
    for engine in engines():
        for label, pitch, both in (
            ("default", None, False),
            (f"pitch {MIDDLE_MM} mm", MIDDLE_MM, False),
            (f"pitch {COARSE_MM} mm", COARSE_MM, False),
            ("default, with ±", None, True),
        ):

            def run(engine=engine, pitch=pitch, both=both):
                # A copy, because the solid of a structure is kept with it.
                return compute_dvh(
                    build_solid(replace(structure)), dose, uncertainty=both, pitch_mm=pitch,
                    engine=engine,
                )  # fmt: skip

            programs[f"cordgap {engine}, {label}"] = run
            values[f"cordgap {engine}, {label}"] = run().dose_of_hottest_gy(HOTTEST_CC)
    with tempfile.TemporaryDirectory() as folder:
        if peer.version():
            written = cases.write_a(Path(folder))
            data = peer.datasets(written.rtstruct, written.rtdose)
            programs[peer_name()] = lambda: peer.fastest(*data, 1)
            values[peer_name()] = peer.hottest_of(programs[peer_name()](), HOTTEST_CC)
        rows = race(work, programs, against=peer_name(), repeat=repeat)
    errors = {name: f"{abs(v - exact) / slope:.3f} mm" for name, v in values.items()}
    return [replace(row, error=errors[row.program]) for row in rows]


def body(repeat: int = 3) -> list[Row]:
    """B, in memory, against reading its covered samples once."""
    case = cases.case_b()
    (structure,) = case.structures
    dose, work = case.dose, "B: body of 23 litres, in memory"
    assert dose is not None
    solid = build_solid(structure)
    values = dose.values
    spans = covered(solid, dose.geometry)
    programs: dict[str, Callable[[], object]] = {}
    for engine in engines():
        programs[f"cordgap {engine}, default"] = lambda e=engine: compute_dvh(
            build_solid(replace(structure)), dose, uncertainty=False, engine=e
        )
    if HAS_NUMBA:
        programs["reading the covered samples once"] = reader(values, spans)
    found = {name: run() for name, run in programs.items()}
    fine = compute_dvh(solid, dose, uncertainty=False, pitch_mm=1.0, engine=engines()[-1])
    rows = race(work, programs, against="reading the covered samples once", repeat=repeat)

    def off(row: Row) -> str:
        dvh = found[row.program]
        if not hasattr(dvh, "mean_gy"):
            return ""
        near = dvh.dose_of_hottest_gy(HOTTEST_CC) - fine.dose_of_hottest_gy(HOTTEST_CC)
        return f"D0.035cc {near:+.3f} Gy, mean {dvh.mean_gy - fine.mean_gy:+.4f} Gy to pitch 1 mm"

    return [replace(row, error=off(row)) for row in rows]


def covered(solid, geometry: GridGeometry) -> list[tuple[int, int, int, int]]:
    """Runs of samples inside a solid, as (plane, row, first, last + 1)."""
    x = geometry.x_mm
    runs = []
    for k, z in enumerate(geometry.z_mm):
        for ring in solid.section_at(float(z)):
            a, b = ring, np.roll(ring, -1, axis=0)
            for j, y in enumerate(geometry.y_mm):
                hit = (a[:, 1] <= y) != (b[:, 1] <= y)
                if hit.sum() != 2:
                    continue
                p, q = a[hit], b[hit]
                ends = p[:, 0] + (y - p[:, 1]) * (q[:, 0] - p[:, 0]) / (q[:, 1] - p[:, 1])
                first, last = np.searchsorted(x, (ends.min(), ends.max()))
                runs.append((k, j, int(first), int(last)))
    return runs


def reader(values: np.ndarray, runs: list[tuple[int, int, int, int]]) -> Callable[[], float]:
    """Sum the covered samples in a compiled loop."""
    import numba

    @numba.njit
    def total(samples, table):
        sum_ = 0.0
        for n in range(table.shape[0]):
            for i in range(table[n, 2], table[n, 3]):
                sum_ += samples[table[n, 0], table[n, 1], i]
        return sum_

    table = np.array(runs)
    return lambda: total(values, table)


def breast(repeat: int = 3) -> list[Row]:
    """C, from files to nine DVHs."""
    if not BREAST.is_dir():
        print(f"C is left out: {BREAST} is not there")
        return []
    work = "C: nine ROIs, reading and parsing included"
    files = BREAST / "rtss.dcm", BREAST / "rtdose.dcm"

    def ours(engine, pitch=1.0):
        case = read_case(rtstruct=files[0], rtdose=files[1], with_image=False, with_hashes=False)
        found = {}
        for s in (s for s in case.structures if s.status == "ok"):
            solid = build_solid(s)
            mm = choose_pitch_mm(solid.volume_mm3, float(np.nanmin(case.dose.geometry.spacing_mm)))
            dvh = compute_dvh(
                solid, case.dose, uncertainty=False, engine=engine,
                pitch_mm=None if pitch == 1.0 else pitch * mm,
            )  # fmt: skip
            found[s.roi_number] = dvh.dose_of_hottest_gy(min(1.0, 0.02 * dvh.total_volume_cc))
        return found, {}

    programs: dict[str, Callable[[], object]] = {
        f"cordgap {engine}, default": lambda e=engine: ours(e) for engine in engines()
    }
    fine = ours(engines()[-1], 1 / 3)[0]
    numbers = list(fine)

    def theirs():
        data = peer.datasets(*files)
        curves = {n: peer.fastest(*data, n) for n in numbers}
        return {n: peer.hottest_of(c, min(1.0, 0.02 * c.volume)) for n, c in curves.items()}, {}

    if peer.version():
        programs[peer_name()] = theirs
    off = {
        name: max(abs(value - fine[n]) / fine[n] for n, value in run()[0].items())
        for name, run in programs.items()
    }
    rows = race(work, programs, against=peer_name(), repeat=repeat)
    return [
        replace(r, error=f"D1cc within {100 * off[r.program]:.2f} % of a third of the pitch")
        for r in rows
    ]


def large_dose(repeat: int = 7) -> list[Row]:
    """One cord of an RTDOSE of 300 MB: what is read for it, and what memory that takes."""
    work = "one cord of a 300 MB RTDOSE"
    with tempfile.TemporaryDirectory() as folder:
        written = cases.write_large(Path(folder))
        size = written.rtdose.stat().st_size / 1e6
        how = {"rtstruct": written.rtstruct, "rtdose": written.rtdose, "with_image": False}
        case = read_case(**how, with_hashes=False)
        solid = build_solid(case.structures[0])
        lower, upper = solid.bounds_mm
        case.dose.crop(lower, upper)
        block = [milliseconds(lambda: case.dose.crop(lower, upper)) for _ in range(repeat)]
        opening = [milliseconds(lambda: read_case(**how, with_hashes=False)) for _ in range(repeat)]
        tracemalloc.start()
        case.dose.crop(lower, upper)
        peak = tracemalloc.get_traced_memory()[1] / 1e6
        tracemalloc.stop()
        code = (
            "import resource, sys; from cordgap.dicom.read import read_case; "
            "from cordgap.dvh.solid import build_solid; "
            "peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3; "
            "case = read_case(rtstruct=sys.argv[1], rtdose=sys.argv[2], with_image=False, "
            "with_hashes=False); solid = build_solid(case.structures[0]); before = peak(); "
            "case.dose.crop(*solid.bounds_mm); print(peak() - before)"
        )
        extra = float(
            subprocess.run(
                [sys.executable, "-c", code, written.rtstruct, written.rtdose],
                check=True, capture_output=True, text=True,
            ).stdout
        )  # fmt: skip
    memory = f"{peak:.1f} MB by tracemalloc, {extra:.1f} MB of peak RSS, file {size:.0f} MB"
    return [
        Row(work, "cordgap, dose read for the cord, warm", statistics.median(block), error=memory),
        Row(work, "cordgap, opening and checking both files", statistics.median(opening)),
    ]


def one_shot(repeat: int = 7) -> list[Row]:
    """Whole cold processes from the files of A to D0.035cc."""
    with tempfile.TemporaryDirectory() as folder:
        written = cases.write_a(Path(folder))
        ours = [
            sys.executable, "-c", COMMAND, "dvh", "--rtstruct", written.rtstruct, "--rtdose",
            written.rtdose, "--structure", "SpinalCord", "--metric", "D0.035cc[Gy]", "--json", "-q",
        ]  # fmt: skip
        theirs = [
            sys.executable, HERE / "peer.py", written.rtstruct, written.rtdose, 1, HOTTEST_CC,
        ]  # fmt: skip
        programs = {"cordgap dvh": lambda: run_cold(ours)}
        if peer.version():
            programs[peer_name()] = lambda: run_cold(theirs)
        programs["python -c 'import numpy, pydicom'"] = lambda: run_cold(
            [sys.executable, "-c", "import numpy, pydicom"]
        )
        work = "one-shot, the cord of A from files"
        return race(work, programs, against=peer_name(), repeat=repeat)


def run_cold(arguments: list[object]) -> None:
    subprocess.run([str(a) for a in arguments], check=True, capture_output=True)


def exponent(work: list[float], taken: list[float]) -> float:
    """Slope of log time over log work."""
    return float(np.polyfit(np.log(work), np.log(taken), 1)[0])


def best(function: Callable[[], object], repeat: int) -> float:
    function()
    return min(milliseconds(function) for _ in range(repeat))


def scaling(repeat: int = 3) -> list[Row]:
    """Cost against work over a 64-fold range: exponents of a power law, and of the last step."""
    rows = []
    steps = (1, 4, 16, 64)
    for engine in engines():
        # A tube that grows in length, its contours with it, at the same dose grid.
        taken = []
        for n in steps:
            z = 3.0 * np.arange(6 * n)
            tube = structure_of([circle(0.4, -0.6, 6.0, 60)], z)
            grid = flat_grid((-12.0, 12.0), (-12.0, 12.0), (-8.0, float(z[-1]) + 8.0), 2.5)
            taken.append(best(lambda t=tube, g=grid, e=engine: compute_dvh(
                build_solid(replace(t)), g, uncertainty=False, engine=e), repeat))  # fmt: skip
        rows.append(power_law("covered voxels, 64-fold", engine, steps, taken))
        # Contours of ever more points, at the same solid: star-shaped, and with a hole.
        for name in ("contour points", "contour points, with a hole"):
            taken = []
            for n in steps:
                rings = [circle(0.4, -0.6, 12.0, 60 * n)]
                if name.endswith("hole"):
                    rings.append(circle(0.4, -0.6, 5.0, 60 * n))
                solid = structure_of(rings, 3.0 * np.arange(20))
                grid = flat_grid((-20.0, 20.0), (-20.0, 20.0), (-8.0, 66.0), 2.5)
                taken.append(best(lambda t=solid, g=grid, e=engine: compute_dvh(
                    build_solid(replace(t)), g, uncertainty=False, engine=e), repeat))  # fmt: skip
            rows.append(power_law(f"{name}, 64-fold", engine, steps, taken))
    return rows


def structure_of(rings, z_mm):
    return make_structure(1, "ROI", [at_height(r, float(z)) for z in z_mm for r in rings])


def flat_grid(x, y, z, step: float) -> DoseGrid:
    axes = [np.arange(low, high + step, step) for low, high in (x, y, z)]
    geometry = GridGeometry(*axes)
    zz, yy, xx = np.meshgrid(*geometry.axes, indexing="ij")
    return DoseGrid.from_array(geometry, 30.0 + 0.5 * yy + 0.1 * xx + 0.0 * zz)


def power_law(work: str, engine: str, steps: tuple[int, ...], taken: list[float]) -> Row:
    last = float(np.log(taken[-1] / taken[-2]) / np.log(steps[-1] / steps[-2]))
    words = f"exponent {exponent(list(map(float, steps)), taken):.2f}, last step {last:.2f}; "
    words += ", ".join(f"{t:.1f}" for t in taken) + " ms"
    return Row(work, f"cordgap {engine}", taken[-1], error=words)


def measure(*, quick: bool) -> list[Row]:
    rows = [*cord(5 if quick else 25), *one_shot(3 if quick else 9), *breast(2 if quick else 5)]
    rows += scaling(2 if quick else 5)
    if not quick:
        rows += [*body(), *large_dose()]
    return rows


def guarded() -> dict[str, float]:
    """Measure the ratios that the guard watches."""
    rows = [*cord(7), *one_shot(3)]
    return {
        f"{row.work} | {row.program}": row.ratio
        for row in rows
        if row.ratio is not None and row.program.startswith("cordgap")
    }


def speed_failures() -> list[str]:
    """Measure a small set anew and name the ratios below half of the recorded ones.

    Ratios without a record, and records of what cannot be measured here, are left out.
    """
    if not peer.version():
        return ["dicompyler-core is not installed: there is nothing to compare with"]
    recorded = json.loads(RATIOS.read_text(encoding="utf-8"))
    now = guarded()
    return [
        f"{name}: {now[name]:.1f} times as fast as dicompyler-core, recorded {ratio:.1f}"
        for name, ratio in recorded.items()
        if name in now and now[name] < LEAST_SHARE * ratio
    ]


def table(rows: list[Row]) -> str:
    """Rows as a Markdown table."""
    lines = [
        "| work | program | ms | times as fast (quartiles) | how far off |",
        "|---|---|---|---|---|",
    ]
    for r in rows:
        ratio = "" if r.ratio is None else f"{r.ratio:.1f} ({r.ratio_low:.1f}-{r.ratio_high:.1f})"
        lines.append(f"| {r.work} | {r.program} | {r.ms:.2f} | {ratio} | {r.error} |")
    return "\n".join(lines)


def machine() -> str:
    """Processor, system and versions, in one line."""
    info = Path("/proc/cpuinfo")
    found = re.search(r"model name\s*:\s*(.+)", info.read_text()) if info.is_file() else None
    model = found[1] if found else platform.processor() or platform.machine()
    names = ["numpy", "pydicom", *(["numba"] if HAS_NUMBA else [])]
    libraries = ", ".join(f"{name} {version(name)}" for name in names)
    return (
        f"{model}, {os.cpu_count()} processors, {platform.system()}, Python "
        f"{platform.python_version()}, cordgap {__version__}, {libraries}, {peer.version()}"
    )


def write_section(text: str) -> None:
    """Replace what stands between the markers of this benchmark in docs/validation.md."""
    begin, end = "<!-- speed:begin -->", "<!-- speed:end -->"
    page = PAGE.read_text(encoding="utf-8")
    before, rest = page.split(begin)
    after = rest.split(end)[1]
    PAGE.write_text(f"{before}{begin}\n\n{text}\n\n{end}{after}", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few repetitions, no B")
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--markdown", action="store_true", help="write into docs/validation.md")
    parser.add_argument("--record", action="store_true", help="record the ratios for the guard")
    options = parser.parse_args()
    if options.record:
        ratios = {name: round(ratio, 2) for name, ratio in guarded().items()}
        RATIOS.write_text(json.dumps(ratios, indent=2) + "\n", encoding="utf-8")
        print(json.dumps(ratios, indent=2))
        return
    rows = measure(quick=options.quick)
    print(f"{machine()}\n\n{table(rows)}")
    if options.json:
        options.json.write_text(
            json.dumps([asdict(row) for row in rows], indent=2) + "\n", encoding="utf-8"
        )
    if options.markdown:
        write_section(f"Machine and versions: {machine()}.\n\n{table(rows)}")


if __name__ == "__main__":
    main()
