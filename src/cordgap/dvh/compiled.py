"""The hot loops of the DVH as machine code, where numba is installed and worth its start-up.

Nothing here is needed: without numba, or where it does not work, numpy does the same. The loops
themselves (:mod:`cordgap.dvh.loops`) are plain Python and can be run as such.
"""

from __future__ import annotations

import logging
import warnings
from dataclasses import dataclass
from typing import Any, Literal

from cordgap.dvh import loops
from cordgap.errors import OptionError

Engine = Literal["auto", "numpy", "compiled"]

# What numba costs before its first result (0.3 s with its cache, 2.5 s without), and what a piece
# costs in numpy: numba is loaded once numpy has spent as much as its start-up.
STARTUP_S = 1.0
NUMPY_S_PER_PIECE = 2.0e-7
# Types that the loops are compiled for, so that the cache is complete after the first use.
_VECTOR, _LINE = "float64[::1]", "Array(float64, 1, 'C', True)"
_INDEX = "Array(intp, 1, 'C', True)"
_TABLE = "Array(float64, 2, 'C', True)"
_SIGNATURES = {
    "polar_profiles": (
        f"Tuple((float64[:,::1],float64[:,::1],{_VECTOR},boolean[::1]))"
        f"({_TABLE},{_INDEX},{_INDEX},{_TABLE})"
    ),
    "loft_vertices": (
        f"float64[:,::1]({_INDEX},{_INDEX},{_LINE},{_LINE},{','.join([_TABLE] * 3)})"
    ),
    "strips_of": f"Tuple((float64[:,::1],intp[::1]))({_TABLE},{_INDEX},float64,float64,{_LINE})",
    "spans_of": (
        f"float64[:,::1]({_TABLE},{','.join([_INDEX] * 3)},boolean,{','.join([_LINE] * 6)},"
        f"{_INDEX})"
    ),
    "slope_change": (
        f"Tuple(({_VECTOR},float64))({_LINE},int64,int64,int64,int64,int64,{_LINE},boolean)"
    ),
    "add_spans": (
        f"void({','.join([_LINE] * 15)},int64,int64,float64,float64,{_VECTOR},{_VECTOR},{_VECTOR})"
    ),
    "cumulate": f"{_VECTOR}({_LINE},{_LINE},float64,float64,float64)",
}
_numpy_pieces = 0.0


@dataclass(frozen=True)
class Kernels:
    """The compiled loops, by their names in :mod:`cordgap.dvh.loops`."""

    polar_profiles: Any
    loft_vertices: Any
    strips_of: Any
    spans_of: Any
    slope_change: Any
    add_spans: Any
    cumulate: Any


_kernels: Kernels | None = None
_refused = False


def kernels_for(pieces: float, engine: Engine) -> Kernels | None:
    """Return the compiled loops where they are wanted for that many pieces, None for numpy.

    Raises
    ------
    OptionError
        If ``engine`` is ``compiled`` and numba is absent or does not work.
    """
    global _numpy_pieces
    if engine == "numpy":
        return None
    if engine == "compiled":
        found = _load()
        if found is None:
            raise OptionError(
                "engine 'compiled': numba is not installed or does not work here; install "
                "cordgap[fast], or leave the engine out"
            )
        return found
    if _kernels is not None:
        return _kernels
    _numpy_pieces += pieces
    return _load() if _numpy_pieces * NUMPY_S_PER_PIECE > STARTUP_S else None


def loaded() -> Kernels | None:
    """Return the compiled loops if they are there already; nothing is loaded for it."""
    return _kernels


def _load() -> Kernels | None:
    global _kernels, _refused
    if _kernels is None and not _refused:
        try:
            _kernels = _compile()
        except Exception as error:
            # An optional accelerator must not break anything: numpy gives the same numbers.
            logging.getLogger(__name__).info("numba cannot be used: %s", error)
            _refused = True
    return _kernels


def _compile() -> Kernels:
    with warnings.catch_warnings():
        # How numba feels about its cache or its threads is no matter of this package.
        warnings.simplefilter("ignore")
        import numba

        made = {}
        for name, signature in _SIGNATURES.items():
            function = getattr(loops, name)
            how = {"error_model": "numpy", "nogil": True}
            try:
                made[name] = numba.njit(signature, cache=True, **how)(function)
            except (RuntimeError, OSError):
                # No folder for the cache can be written: compile anew in each process.
                made[name] = numba.njit(signature, **how)(function)
    return Kernels(**made)
