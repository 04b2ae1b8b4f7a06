"""dicompyler-core as a peer: run as a program it is one whole process from files to D0.035cc,
by the peer's fastest setting.

Usage: python benchmarks/peer.py RTSTRUCT RTDOSE ROI_NUMBER VOLUME_CC
"""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

import numpy as np
import pydicom
import pydicom.dicomio

warnings.simplefilter("ignore")
# dicompyler-core 0.5.6 asks for the name that dcmread had in pydicom 2.
pydicom.dicomio.read_file = pydicom.dcmread


def version() -> str | None:
    """Name and version, None where it is not installed."""
    try:
        from dicompylercore import __version__
    except ImportError:
        return None
    return f"dicompyler-core {__version__}"


def datasets(rtstruct: Path | str, rtdose: Path | str) -> tuple[pydicom.Dataset, pydicom.Dataset]:
    """Read both files once, pixels included, as the peer's fastest way to several DVHs."""
    found = pydicom.dcmread(rtstruct), pydicom.dcmread(rtdose)
    _ = found[1].pixel_array
    return found


def fastest(
    rtstruct: pydicom.Dataset | Path | str, rtdose: pydicom.Dataset | Path | str, roi_number: int
):
    """Compute the peer's DVH by its fastest setting."""
    from dicompylercore import dvhcalc

    return dvhcalc.get_dvh(rtstruct, rtdose, roi_number, use_structure_extents=True)


def plain(rtstruct: Path | str, rtdose: Path | str, roi_number: int):
    """Compute the peer's DVH as its documentation shows it: from the files, no option."""
    from dicompylercore import dvhcalc

    return dvhcalc.get_dvh(str(rtstruct), str(rtdose), roi_number)


def hottest_of(dvh, volume_cc: float) -> float:
    """Dose that the hottest volume gets at least, off the peer's cumulative DVH."""
    return float(np.interp(volume_cc, np.r_[dvh.counts, 0.0][::-1], dvh.bins[::-1]))


def curve(
    rtstruct: Path | str, rtdose: Path | str, roi_number: int
) -> tuple[np.ndarray, np.ndarray, float] | None:
    """Dose edges, cumulative volume and mean dose of the peer; None where it finds no volume."""
    from dicompylercore import dvhcalc

    dvh = dvhcalc.get_dvh(str(rtstruct), str(rtdose), roi_number)
    if dvh.volume <= 0 or len(dvh.counts) < 2:
        return None
    counts = np.r_[np.asarray(dvh.counts, dtype=float), 0.0]
    return np.asarray(dvh.bins[: counts.size], dtype=float), counts, float(dvh.mean)


def hottest_gy(
    rtstruct: Path | str, rtdose: Path | str, roi_number: int, volume_cc: float
) -> float:
    """Dose that the hottest volume gets at least, by the peer's default setting."""
    from dicompylercore import dvhcalc

    return hottest_of(dvhcalc.get_dvh(str(rtstruct), str(rtdose), roi_number), volume_cc)


if __name__ == "__main__":
    print(hottest_of(fastest(sys.argv[1], sys.argv[2], int(sys.argv[3])), float(sys.argv[4])))
