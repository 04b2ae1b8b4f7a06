"""dicompyler-core as a peer: run as a program it is one whole process from files to D0.035cc.

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


def hottest_gy(
    rtstruct: Path | str, rtdose: Path | str, roi_number: int, volume_cc: float
) -> float:
    """Dose that the hottest volume gets at least, off the peer's cumulative DVH."""
    from dicompylercore import dvhcalc

    dvh = dvhcalc.get_dvh(str(rtstruct), str(rtdose), roi_number)
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


if __name__ == "__main__":
    print(hottest_gy(sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4])))
