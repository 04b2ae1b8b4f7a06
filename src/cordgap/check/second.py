"""An independent second calculation of a DVH, by dicompyler-core.

The only file that knows dicompyler-core. It reads the same DICOM files with its own reader,
rasterises contours at the dose pixels and counts: another method, another author. It differs from
the main calculation by what a raster of dose pixels misses, which is little for whole organs and
much for thin structures in steep gradients (docs/dvh.md).
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cordgap.check.raster import HOTTEST_CC, HOTTEST_PERCENT, Values
from cordgap.errors import DicomError, OptionError

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class SecondDvh:
    """Cumulative DVH of the second calculation.

    Parameters
    ----------
    roi_number : int
    roi_name : str
    dose_gy : ndarray of shape (n,)
        Ascending dose edges.
    volume_cc : ndarray of shape (n,)
        Volume that gets at least each dose; the last is 0.
    total_volume_cc, mean_gy, max_gy : float
        As dicompyler-core states them.
    stated : dict of str to float or None
        Every compared metric as dicompyler-core itself reads it off its curve.
    program : str
        Name and version of what calculated.
    """

    roi_number: int
    roi_name: str
    dose_gy: FloatArray
    volume_cc: FloatArray
    total_volume_cc: float
    mean_gy: float
    max_gy: float
    stated: Values
    program: str

    def dose_of_hottest_gy(self, volume_cc: float) -> float:
        """Return the dose that the hottest ``volume_cc`` gets at least, linear between edges."""
        falling, doses = self.volume_cc[::-1], self.dose_gy[::-1]
        return float(np.interp(volume_cc, falling, doses))


@contextmanager
def _silent(*names: str) -> Iterator[None]:
    """Keep loggers from saying anything."""
    loggers = [logging.getLogger(name) for name in names]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def second_dvh(rtstruct: Path | str, rtdose: Path | str, roi_number: int) -> SecondDvh:
    """Compute the DVH of one structure with dicompyler-core.

    Parameters
    ----------
    rtstruct, rtdose : path
        The files, read again by dicompyler-core itself.
    roi_number : int
        ROI Number in the RTSTRUCT.

    Raises
    ------
    OptionError
        If dicompyler-core is not installed.
    DicomError
        If it cannot read the files or calculate; the message says so.
    """
    from cordgap.dicom.compat import provide_read_file

    provide_read_file()
    # Its use of old names of pydicom and numpy is not the user's concern, and what these log quotes
    # values of the files.
    with warnings.catch_warnings(), _silent("pydicom", "dicompylercore"):
        warnings.simplefilter("ignore")
        try:
            from dicompylercore import __version__ as version
            from dicompylercore import dvhcalc
        except ImportError as error:
            raise OptionError(
                "the second calculation needs dicompyler-core, which is not installed: "
                'pip install "cordgap[check]"'
            ) from error
        try:
            found = dvhcalc.get_dvh(str(rtstruct), str(rtdose), roi_number)
            counts = np.asarray(found.counts, dtype=np.float64)
            edges = np.asarray(found.bins, dtype=np.float64)
            total, mean, highest = float(found.volume), float(found.mean), float(found.max)
            stated: Values = {"volume": total, "Mean": mean, "Max": highest}
            for cc in HOTTEST_CC:
                there = cc <= total
                stated[f"D{cc:g}cc"] = (
                    float(found.dose_constraint(cc, "cc").value) if there else None
                )
            for percent in HOTTEST_PERCENT:
                stated[f"D{percent:g}%"] = float(found.dose_constraint(percent).value)
        except Exception as error:
            raise DicomError(
                f"{Path(rtdose).name}: dicompyler-core cannot calculate ROI {roi_number} of "
                f"{Path(rtstruct).name} ({type(error).__name__}); there is no second calculation"
            ) from error
    if counts.size == 0 or total <= 0:
        raise DicomError(
            f"{Path(rtstruct).name}: dicompyler-core finds no volume for ROI {roi_number}; there "
            "is no second calculation"
        )
    return SecondDvh(
        roi_number=roi_number,
        roi_name=str(found.name),
        dose_gy=edges,
        volume_cc=np.r_[counts, 0.0],
        total_volume_cc=total,
        mean_gy=mean,
        max_gy=highest,
        stated=stated,
        program=f"dicompyler-core {version}",
    )
