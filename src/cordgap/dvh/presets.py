"""Settings that imitate how planning systems build a solid from contours.

As reported by Pepin 2022, Penoncello 2024 and Nelms 2015 (docs/dvh.md). Only what lies between the
planes and beyond the ends is imitated, not the sampling: these are for explaining differences.
"""

from __future__ import annotations

from dataclasses import dataclass

from cordgap.dvh.solid import Between, Ends
from cordgap.errors import OptionError


@dataclass(frozen=True)
class Preset:
    """What a system does between planes and at the ends."""

    name: str
    between: Between
    ends: Ends


PRESETS = (
    Preset("Eclipse", "shape", "rounded"),
    Preset("RayStation", "shape", "flat"),
    Preset("MIM", "slab", "half-slice"),
    Preset("Mobius3D", "slab", "half-slice"),
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
