"""Analytic cases with known answers: for the demo, tests, benchmarks, documentation, self-test.

Nothing is aligned on purpose: centres lie off the dose grid, so that a reader or an integrator
that rounds a position shows it. Everything is deterministic.
"""

from cordgap.phantom.ct import paint_spine
from cordgap.phantom.linear import (
    cord_in_linear_dose,
    exact_cord_dose_gy,
    exact_sphere_dose_gy,
    sphere,
)
from cordgap.phantom.prior import PRIOR_FRAME_UID, PriorField, prior_dose
from cordgap.phantom.shapes import (
    CordShape,
    Epidural,
    LinearDose,
    Sampling,
    SphereShape,
    SpineAnatomy,
    SpineDose,
)
from cordgap.phantom.spine import spine_case

__all__ = [
    "PRIOR_FRAME_UID",
    "CordShape",
    "Epidural",
    "LinearDose",
    "PriorField",
    "Sampling",
    "SphereShape",
    "SpineAnatomy",
    "SpineDose",
    "cord_in_linear_dose",
    "exact_cord_dose_gy",
    "exact_sphere_dose_gy",
    "paint_spine",
    "prior_dose",
    "sphere",
    "spine_case",
]
