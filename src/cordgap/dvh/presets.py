"""Settings that imitate how planning systems build a solid from contours.

As reported by Pepin 2022, Penoncello 2024 and Nelms 2015 (docs/dvh.md). What lies between the
planes and beyond the ends is imitated, and which part of it counts; the sampling is not: these are
for explaining differences, not for reproducing a number.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from cordgap.case.case import Case
from cordgap.case.grid import DoseGrid
from cordgap.case.structure import Structure
from cordgap.dvh.layers import runs_of
from cordgap.dvh.metrics import Metric
from cordgap.dvh.solid import Between, Ends, Solid, build_solid
from cordgap.dvh.structures import DEFAULT_METRICS, StructureResult, compute_structure
from cordgap.errors import OptionError

# Layers of one run touch: they are built from the same plane positions.
_TOUCHING_MM = 1e-6


@dataclass(frozen=True)
class Rules:
    """How a solid is built, and which part of it has a dose.

    Parameters
    ----------
    between, ends : str
        As in :func:`~cordgap.dvh.solid.build_solid`.
    max_cap_mm : float, optional
        End caps are cut to this height.
    caps_have_dose : bool
        Whether the end caps are in the histogram; their volume counts in any case.
    """

    between: Between = "shape"
    ends: Ends = "half-slice"
    max_cap_mm: float | None = None
    caps_have_dose: bool = True

    def __str__(self) -> str:
        words: list[str] = [self.between, self.ends]
        if self.max_cap_mm is not None:
            words.append(f"at most {self.max_cap_mm:g} mm")
        if not self.caps_have_dose:
            words.append("without dose")
        return ", ".join(words)

    def volume(self, structure: Structure) -> Solid:
        """Build the solid whose volume is reported; raises as ``build_solid`` does."""
        solid = build_solid(structure, between=self.between, ends=self.ends)
        return solid if self.max_cap_mm is None else limit_caps(solid, self.max_cap_mm)

    def solid(self, structure: Structure) -> Solid:
        """Build the solid whose dose is in the histogram; raises as ``build_solid`` does."""
        if self.caps_have_dose:
            return self.volume(structure)
        return build_solid(structure, between=self.between, ends="none")

    def compute(
        self,
        dose: DoseGrid | None,
        structure: Structure,
        *,
        metrics: Sequence[Metric] = DEFAULT_METRICS,
        rx_gy: float | None = None,
        uncertainty: bool = True,
    ) -> StructureResult:
        """Compute DVH and metrics of one structure under these rules."""
        result = compute_structure(
            dose, structure, self.solid, metrics=metrics, rx_gy=rx_gy, uncertainty=uncertainty
        )
        if self.caps_have_dose or result.volume_cc is None:
            return result
        return replace(result, volume_cc=self.volume(structure).volume_cc)


@dataclass(frozen=True)
class Preset:
    """A planning system: its rules, and what of it is not imitated."""

    name: str
    version: str
    rules: Rules
    not_imitated: str

    def __str__(self) -> str:
        return f"{self.name} ({self.rules})"


PRESETS = (
    Preset(
        "Eclipse",
        "15.5, 16.1",
        Rules("shape", "rounded"),
        "about 100 000 sample points; its own shape interpolation, of which only the kind is known",
    ),
    Preset(
        "RayStation",
        "9A, 9B",
        Rules("shape", "flat"),
        "sampling three times finer than the axial grid; its own shape interpolation",
    ),
    Preset("MIM", "6.9, 7.0", Rules("slab", "half-slice"), "sample points of about 1 mm³"),
    Preset("Mobius3D", "3.x", Rules("slab", "half-slice"), "sampling on its own dose voxels"),
    Preset(
        "ProKnow",
        "1.22",
        Rules("slab", "half-slice", max_cap_mm=1.5),
        "more than 10 000 sample points",
    ),
    Preset(
        "PlanIQ",
        "2.1",
        Rules("slab", "half-slice"),
        "at least 40 000 sample points, and points on the surface, which raise its maximum; that "
        "it extrudes planes is inferred, not stated",
    ),
    Preset(
        "Pinnacle",
        "9.8",
        Rules("slab", "half-slice", caps_have_dose=False),
        "its sampling; how it spreads the missing dose of the caps over volumes in percent (here "
        "they are of the part that has a dose); version 16.2, which counts every voxel touched",
    ),
)


def find_preset(name: str) -> Preset:
    """Return the preset of that name, in any case.

    Raises
    ------
    OptionError
        Listing the presets.
    """
    for preset in PRESETS:
        if preset.name.casefold() == name.strip().casefold():
            return preset
    known = ", ".join(p.name for p in PRESETS)
    raise OptionError(f"--preset {name}: there is no such preset; the presets are {known}")


def limit_caps(solid: Solid, max_mm: float) -> Solid:
    """Cut the caps of every run of planes to a height; what is shorter stays.

    Only for caps of half a slice: a rounded cap would be cut off at its widest part.
    """
    layers = list(solid.layers)
    for i, layer in enumerate(solid.layers):
        before = solid.layers[i - 1].top_mm if i else -float("inf")
        after = solid.layers[i + 1].bottom_mm if i + 1 < len(layers) else float("inf")
        if layer.bottom_mm - before > _TOUCHING_MM:
            layers[i] = replace(layer, bottom_mm=max(layer.bottom_mm, layer.top_mm - max_mm))
        elif after - layer.top_mm > _TOUCHING_MM:
            layers[i] = replace(layer, top_mm=min(layer.top_mm, layer.bottom_mm + max_mm))
    return replace(solid, runs=runs_of(layers))


def compute_under(
    case: Case,
    rules: Rules,
    *,
    metrics: Sequence[Metric] = DEFAULT_METRICS,
    rx_gy: float | None = None,
    names: Sequence[str] = (),
    uncertainty: bool = True,
) -> tuple[StructureResult, ...]:
    """Compute DVH and metrics of the named structures (all, if none are named) under rules.

    Raises
    ------
    StructureNotFoundError
        If a named structure is not in the case.
    """
    wanted = [case.structure(name) for name in names] if names else list(case.structures)
    return tuple(
        rules.compute(case.dose, s, metrics=metrics, rx_gy=rx_gy, uncertainty=uncertainty)
        for s in wanted
    )
