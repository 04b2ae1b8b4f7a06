"""Real exports beside the numbers that other systems gave for them, and beside dicompyler-core.

For each structure of an export with numbers of its planning system: volume, mean, D2% and D98% of
that system, of cordgap, and of dicompyler-core on the same files. The folders are those of the test
data (``real``); what is not there is left out, and said so.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import peer
from cordgap.case.case import Case
from cordgap.check.stored import compare_stored
from cordgap.dicom.read import read_case
from cordgap.dvh.curve import DVH
from cordgap.dvh.integrate import compute_dvh
from cordgap.dvh.solid import Ends, build_solid

REAL = Path(__file__).resolve().parents[2] / "shared" / "data" / "real"
METRICS = ("volume", "Mean", "D2%", "D98%")
_COLUMN = re.compile(r"(\w+)_DvhArray Value \(% of ([\d.]+) cc\)")


@dataclass(frozen=True)
class Row:
    """One number of one structure: of the system, of cordgap, of the peer (None: it failed)."""

    source: str
    roi_name: str
    metric: str
    theirs: float
    ours: float
    peers: float | None


def values_of(dvh: DVH) -> dict[str, float]:
    return {
        "volume": dvh.total_volume_cc,
        "Mean": dvh.mean_gy,
        "D2%": dvh.dose_of_hottest_gy(0.02 * dvh.total_volume_cc),
        "D98%": dvh.dose_of_hottest_gy(0.98 * dvh.total_volume_cc),
    }


def peers_of(data: tuple, roi_number: int) -> dict[str, float]:
    try:
        dvh = peer.fastest(*data, roi_number)
    except Exception:
        # Whatever it is: the other program has no number for this structure.
        return {}
    return {
        "volume": float(dvh.volume),
        "Mean": float(dvh.mean),
        "D2%": peer.hottest_of(dvh, 0.02 * dvh.volume),
        "D98%": peer.hottest_of(dvh, 0.98 * dvh.volume),
    }


def stored(folder: Path) -> Iterator[Row]:
    """DVHs that the planning system wrote into its RTDOSE."""
    case = read_case(folder, with_image=False)
    files = {f.kind: f.path for f in case.inputs}
    data = peer.datasets(files["rtstruct"], files["rtdose"])
    numbers = {s.roi_name: s.roi_number for s in case.structures}
    known: dict[str, dict[str, float]] = {}
    for row in compare_stored(case).rows:
        if row.metric in METRICS and row.main is not None and row.stored is not None:
            if row.roi_name not in known:
                known[row.roi_name] = peers_of(data, numbers[row.roi_name])
            yield Row(
                "Eclipse, DVHs in the RTDOSE", row.roi_name, row.metric, row.stored, row.main,
                known[row.roi_name].get(row.metric),
            )  # fmt: skip


def tables_of(file: Path) -> dict[str, DVH]:
    """Curves of an exported DVH table: dose and volume in %, a pair of columns a structure."""
    with file.open(encoding="utf-8", newline="") as stream:
        header, *lines = csv.reader(stream)
    found = {}
    for column, title in enumerate(header):
        match = _COLUMN.match(title)
        if not match:
            continue
        pairs = [
            (float(line[column - 1]), float(line[column]))
            for line in lines
            if len(line) > column and line[column - 1] and line[column]
        ]
        dose, percent = np.array(pairs).T
        total = float(match[2])
        curve = np.minimum.accumulate(percent / 100 * total)
        lost = -np.diff(np.r_[curve, 0.0])
        mean = float(np.average(dose, weights=lost)) if lost.sum() > 0 else float("nan")
        found[match[1].casefold()] = DVH(dose, curve, total, float(dose[0]), mean, float(dose[-1]))
    return found


def tabled(folder: Path, program: str, ends: Ends) -> Iterator[Row]:
    """DVH tables that a program printed; computed with its own convention for the ends."""
    case = read_case(folder, with_image=False)
    data = peer.datasets(folder / "RS.dcm", folder / "RD.dcm")
    tables = tables_of(folder / "oracle" / f"EclipseEnt_DvhTable_{program}.csv")
    for structure in case.structures:
        theirs = tables.get(re.sub(r"[^a-z0-9]", "", structure.roi_name.casefold()))
        # Tables print three digits: what is smaller than this has none left.
        if theirs is None or structure.status != "ok" or theirs.total_volume_cc < 5:
            continue
        dvh = compute_dvh(build_solid(structure, ends=ends), case.dose, uncertainty=False)
        ours, peers = values_of(dvh), peers_of(data, structure.roi_number)
        for metric, value in values_of(theirs).items():
            yield Row(
                f"{program}, table", structure.roi_name, metric, value, ours[metric],
                peers.get(metric),
            )  # fmt: skip


def counted(folder: Path) -> Iterator[Row]:
    """Contours that trace voxels, of which the number is known."""
    case: Case = read_case(folder, with_image=False)
    data = peer.datasets(folder / "RS.dcm", folder / "RD.dcm")
    known = json.loads((folder / "voxel_oracle.json").read_text(encoding="utf-8"))
    for structure in case.structures:
        solid = build_solid(structure, between="slab")
        theirs = known[structure.roi_name]["volume_cc"]
        peers = peers_of(data, structure.roi_number).get("volume")
        yield Row("voxels counted", structure.roi_name, "volume", theirs, solid.volume_cc, peers)


def measure() -> tuple[list[Row], list[str]]:
    """Return the rows, and which exports were not there."""
    rows: list[Row] = []
    missing = []
    for name, read in (
        ("dicompyler_breast", stored),
        ("slicerrt_EclipseEnt", lambda f: tabled(f, "Eclipse", "none")),
        ("slicerrt_EclipseEnt", lambda f: tabled(f, "CERR", "half-slice")),
        ("openkbp_pt_290", counted),
    ):
        if (REAL / name).is_dir():
            rows += read(REAL / name)
        else:
            missing.append(name)
    return rows, missing


def off(value: float | None, theirs: float) -> str:
    return "-" if value is None or theirs == 0 else f"{100 * (value / theirs - 1):+.1f} %"


def table(rows: list[Row]) -> str:
    """Every row, as it is."""
    lines = [
        "| system | structure | metric | theirs | cordgap | off | dicompyler-core off |",
        "|---|---|---|---|---|---|---|",
    ]
    for r in rows:
        unit = "cc" if r.metric == "volume" else "Gy"
        lines.append(
            f"| {r.source} | {r.roi_name} | {r.metric} | {r.theirs:.4g} {unit} | {r.ours:.4g} "
            f"{unit} | {off(r.ours, r.theirs)} | {off(r.peers, r.theirs)} |"
        )
    return "\n".join(lines)


def main() -> None:
    rows, missing = measure()
    print(table(rows))
    for name in missing:
        print(f"left out: {name} is not there")


if __name__ == "__main__":
    main()
