"""How far must tumour stand off the spinal cord so that SBRT can treat it and spare the cord?

>>> import cordgap
>>> result = cordgap.analyze(cordgap.read_case("plans/coverage-first"))  # doctest: +SKIP
>>> result.separation.required_separation_mm                             # doctest: +SKIP
2.1

Research and second-check software, not a medical device.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from cordgap._version import __version__

if TYPE_CHECKING:
    from cordgap.analysis import CaseResult, Settings, analyze
    from cordgap.case.case import Case, Prescription
    from cordgap.dicom.read import read_case
    from cordgap.dvh.curve import DVH
    from cordgap.dvh.integrate import compute_dvh
    from cordgap.dvh.metrics import parse_goal, parse_metric
    from cordgap.dvh.solid import build_solid
    from cordgap.errors import CordgapError
    from cordgap.limits.protocol import load_protocol
    from cordgap.report.write import write_all

# Names are imported when they are used: the command line must not pay for what it does not need.
_HOME = {
    "read_case": "cordgap.dicom.read",
    "analyze": "cordgap.analysis",
    "Settings": "cordgap.analysis",
    "CaseResult": "cordgap.analysis",
    "Case": "cordgap.case.case",
    "Prescription": "cordgap.case.case",
    "DVH": "cordgap.dvh.curve",
    "build_solid": "cordgap.dvh.solid",
    "compute_dvh": "cordgap.dvh.integrate",
    "parse_metric": "cordgap.dvh.metrics",
    "parse_goal": "cordgap.dvh.metrics",
    "load_protocol": "cordgap.limits.protocol",
    "write_all": "cordgap.report.write",
    "CordgapError": "cordgap.errors",
}

__all__ = [
    "DVH",
    "Case",
    "CaseResult",
    "CordgapError",
    "Prescription",
    "Settings",
    "__version__",
    "analyze",
    "build_solid",
    "compute_dvh",
    "load_protocol",
    "parse_goal",
    "parse_metric",
    "read_case",
    "write_all",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'cordgap' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)
