"""What packages written for pydicom 2 still look for in pydicom 3."""

from __future__ import annotations

from typing import Any


def provide_read_file() -> None:
    """Put back ``pydicom.dicomio.read_file``, the old name of ``dcmread``, where it is missing."""
    from pydicom import dcmread, dicomio

    module: Any = dicomio
    if not hasattr(module, "read_file"):
        module.read_file = dcmread
