"""What can go wrong between plan and patient: errors with their spread, from a TOML file.

The file that comes with cordgap (``scenarios.toml``) cites where each number comes from; a clinic
puts in its own. From it scenarios are drawn: the same seed gives the same scenarios, and the same
scenarios scaled where only a spread changes.
"""

from __future__ import annotations

import math
import tomllib
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from cordgap.errors import OptionError
from cordgap.separation.displaced import Moves

FloatArray = NDArray[np.float64]
Repeats = Literal["course", "fraction"]
BiasSign = Literal["as given", "either"]
Axes = tuple[float, float, float]

SCHEMA = "cordgap.scenarios/1"
BUILT_IN = "default"
# Parts of a scenario: what the numbers are of, in the order in which they are drawn.
PARTS: dict[str, str] = {
    "setup": "sd_mm",
    "rotation": "sd_deg",
    "intrafraction": "sd_mm",
    "cord_motion": "sd_mm",
    "registration": "sd_mm",
    "contour": "sd_mm",
}
_ONE_NUMBER = ("contour",)
# Beyond these a number is a slip of the keyboard (or in cm).
LARGEST_SD = {"sd_mm": 10.0, "sd_deg": 10.0}
SCENARIO_RANGE = (2, 100_000)
_KEYS = ("repeats", "source", "bias_mm", "bias_sign")


@dataclass(frozen=True)
class ErrorPart:
    """One source of error: its spread along left-right, anterior-posterior, cranio-caudal.

    ``sd`` is in mm, for rotation in degrees about those axes; a contour has one number (the other
    two are 0). ``bias_mm`` is added to every scenario, with a drawn sign where its sign is
    ``either``. ``repeats`` says whether the error is the same in every fraction.
    """

    name: str
    sd: Axes
    repeats: Repeats = "course"
    bias_mm: Axes = (0.0, 0.0, 0.0)
    bias_sign: BiasSign = "as given"
    source: str = ""

    @property
    def unit(self) -> str:
        """Unit of ``sd``."""
        return "deg" if self.name == "rotation" else "mm"

    def sd_of_course(self, fractions: int) -> Axes:
        """Spread of the mean over the fractions."""
        share = 1.0 / math.sqrt(fractions) if self.repeats == "fraction" else 1.0
        return share * self.sd[0], share * self.sd[1], share * self.sd[2]


@dataclass(frozen=True)
class ScenarioModel:
    """Errors of delivery, how many scenarios are drawn from them, and with which seed."""

    parts: tuple[ErrorPart, ...]
    scenarios: int = 1000
    seed: int = 20170601
    source: str = BUILT_IN

    def part(self, name: str) -> ErrorPart:
        """Return one source of error."""
        return next(part for part in self.parts if part.name == name)

    def scaled(self, factor: float) -> ScenarioModel:
        """Return the same model with every spread and bias times a factor."""
        parts = tuple(
            replace(p, sd=_times(p.sd, factor), bias_mm=_times(p.bias_mm, factor))
            for p in self.parts
        )
        return replace(self, parts=parts)

    def total_sd_mm(self, fractions: int) -> Axes:
        """Quadrature of all shifts and the contour along each axis, without rotation and bias."""
        squares = np.zeros(3)
        for part in self.parts:
            if part.name == "contour":
                squares += part.sd_of_course(fractions)[0] ** 2 * np.array([1.0, 1.0, 0.0])
            elif part.name != "rotation":
                squares += np.square(part.sd_of_course(fractions))
        x, y, z = (float(v) for v in np.sqrt(squares))
        return x, y, z


def _times(axes: Axes, factor: float) -> Axes:
    return factor * axes[0], factor * axes[1], factor * axes[2]


def default_text() -> str:
    """Return the scenario file that comes with cordgap."""
    return (files("cordgap.separation") / "scenarios.toml").read_text(encoding="utf-8")


def load_scenarios(which: str | Path = BUILT_IN) -> ScenarioModel:
    """Read a scenario file, or the one that comes with cordgap (``default``).

    Raises
    ------
    OptionError
        If the file cannot be read, a spread is missing, negative or absurd, or a key is not known.

    Examples
    --------
    >>> round(load_scenarios().total_sd_mm(1)[1], 6)  # anterior-posterior, see docs/uncertainty.md
    1.403567
    """
    if str(which) == BUILT_IN:
        return parse_scenarios(default_text(), BUILT_IN)
    path = Path(which)
    if not path.is_file():
        raise OptionError(
            f"--scenarios {path.name}: there is no such file; give a TOML file (cordgap scenarios "
            f"--toml prints one) or the word {BUILT_IN}"
        )
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise OptionError(f"{path.name}: not a text file in UTF-8") from error
    return parse_scenarios(text, path.name)


def parse_scenarios(text: str, source: str) -> ScenarioModel:
    """Read a scenario file from its text; see :func:`load_scenarios`."""
    try:
        table = tomllib.loads(text)
    except ValueError as error:
        raise OptionError(f"{source}: not valid TOML: {error}") from error
    if table.pop("schema", None) != SCHEMA:
        raise OptionError(f'{source}: expected schema = "{SCHEMA}" in the first lines')
    scenarios = _whole(table.pop("scenarios", 1000), f"{source}: scenarios", SCENARIO_RANGE)
    seed = _whole(table.pop("seed", 20170601), f"{source}: seed", (0, 2**63 - 1))
    unknown = sorted(set(table) - set(PARTS))
    if unknown:
        raise OptionError(
            f"{source}: unknown part {unknown[0]!r}; the parts are {', '.join(PARTS)}"
        )
    parts = tuple(_part(table.get(name), name, source) for name in PARTS)
    return ScenarioModel(parts, scenarios, seed, source)


def _part(values: Any, name: str, source: str) -> ErrorPart:
    key = PARTS[name]
    place = f"{source}: [{name}]"
    if not isinstance(values, dict):
        raise OptionError(
            f"{place} is missing: give its {key} (0 leaves it out, but says so); cordgap scenarios "
            "--toml prints a whole file"
        )
    unknown = sorted(set(values) - {key, *_KEYS})
    if unknown:
        raise OptionError(
            f"{place}: unknown key {unknown[0]!r}; it may hold {key}, {', '.join(_KEYS)}"
        )
    if key not in values:
        raise OptionError(f"{place}: {key} is missing; 0 leaves this part out, but says so")
    sd = _axes(values[key], f"{place}: {key}", one=name in _ONE_NUMBER)
    if min(sd) < 0:
        raise OptionError(f"{place}: {key} is {values[key]}: a standard deviation is 0 or more")
    if max(sd) > LARGEST_SD[key]:
        raise OptionError(
            f"{place}: {key} is {values[key]}, expected at most {LARGEST_SD[key]:g}; is it in "
            f"{'degrees' if key == 'sd_deg' else 'mm'}?"
        )
    if name in ("rotation", "contour") and "bias_mm" in values:
        raise OptionError(f"{place}: bias_mm is for shifts only")
    bias = _axes(values.get("bias_mm", 0.0), f"{place}: bias_mm", one=False)
    if max(abs(b) for b in bias) > LARGEST_SD["sd_mm"]:
        raise OptionError(f"{place}: bias_mm is {values['bias_mm']}, expected at most 10 mm")
    return ErrorPart(
        name,
        sd,
        _word(values.get("repeats", "course"), f"{place}: repeats", get_args(Repeats)),
        bias,
        _word(values.get("bias_sign", "as given"), f"{place}: bias_sign", get_args(BiasSign)),
        _text(values.get("source", ""), f"{place}: source"),
    )


def _axes(value: Any, place: str, *, one: bool) -> Axes:
    """Read one number, or three: left-right, anterior-posterior, cranio-caudal."""
    numbers = value if isinstance(value, list) else [value]
    allowed = (1,) if one else (1, 3)
    good = len(numbers) in allowed and all(
        isinstance(n, int | float) and not isinstance(n, bool) and math.isfinite(n) for n in numbers
    )
    if not good:
        words = "a number" if one else "a number, or three: [left-right, front-back, head-feet]"
        raise OptionError(f"{place} is {value!r}, expected {words}")
    if one:
        return float(numbers[0]), 0.0, 0.0
    x, y, z = (float(n) for n in (numbers * 3 if len(numbers) == 1 else numbers))
    return x, y, z


def _word(value: Any, place: str, words: tuple[str, ...]) -> Any:
    if value not in words:
        raise OptionError(f"{place} is {value!r}, expected {' or '.join(map(repr, words))}")
    return value


def _text(value: Any, place: str) -> str:
    if not isinstance(value, str):
        raise OptionError(f"{place} is {value!r}, expected a text")
    return value


def _whole(value: Any, place: str, limits: tuple[int, int]) -> int:
    low, high = limits
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise OptionError(f"{place} is {value!r}, expected a whole number from {low} to {high}")
    return value


def draw_moves(model: ScenarioModel, fractions: int, pivot_mm: FloatArray) -> Moves:
    """Draw where the cord is in each scenario, seen from the dose.

    The patient turns about ``pivot_mm`` (the middle of the target) and shifts (set-up,
    intrafraction); the cord moves in the patient (cord motion, registration) and is larger or
    smaller than drawn (contour). Scenarios come in pairs of opposite errors, so that the middle of
    the distribution is not moved by chance.
    """
    half = (model.scenarios + 1) // 2
    random = np.random.default_rng(model.seed)
    drawn = random.standard_normal((half, len(PARTS), 3))
    signs = random.choice([-1.0, 1.0], size=(half, len(PARTS)))
    drawn = np.concatenate([drawn, -drawn])[: model.scenarios]
    signs = np.concatenate([signs, -signs])[: model.scenarios]
    by_name: dict[str, FloatArray] = {}
    for i, name in enumerate(PARTS):
        part = model.part(name)
        error = drawn[:, i] * np.array(part.sd_of_course(fractions))
        sign = signs[:, i, None] if part.bias_sign == "either" else 1.0
        by_name[name] = error + sign * np.array(part.bias_mm)
    rotation = _rotations(np.radians(by_name["rotation"]))
    inside = by_name["cord_motion"] + by_name["registration"] - pivot_mm
    turned = np.einsum("kij,kj->ki", rotation, inside)
    shift = turned + pivot_mm + by_name["setup"] + by_name["intrafraction"]
    return Moves(rotation, np.ascontiguousarray(shift), by_name["contour"][:, 0].copy())


def _rotations(angles: FloatArray) -> FloatArray:
    """Rotation matrices (n, 3, 3): about x, then y, then z."""
    (cx, cy, cz), (sx, sy, sz) = np.cos(angles).T, np.sin(angles).T
    out = np.empty((len(angles), 3, 3))
    out[:, 0] = np.c_[cz * cy, cz * sy * sx - sz * cx, cz * sy * cx + sz * sx]
    out[:, 1] = np.c_[sz * cy, sz * sy * sx + cz * cx, sz * sy * cx - cz * sx]
    out[:, 2] = np.c_[-sy, cy * sx, cy * cx]
    return out
