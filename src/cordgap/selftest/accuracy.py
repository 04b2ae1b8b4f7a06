"""Bodies with a known dose-volume relation, written as DICOM, read back and measured."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from cordgap.check.selftest import (
    ENGINES_SHARE,
    LOCAL_PERCENT,
    NEAR_MM,
    SPHERE_LIMITS,
    VOLUME_PERCENT,
    Row,
    cord_dose_limit_mm,
)
from cordgap.dicom.read import read_case
from cordgap.dvh.compiled import Engine
from cordgap.dvh.curve import DVH
from cordgap.dvh.integrate import compute_dvh
from cordgap.dvh.metrics import parse_metric
from cordgap.dvh.solid import build_solid
from cordgap.export.plan import ORIENTATIONS, write_plan
from cordgap.phantom.bodies import (
    SHIFT_MM,
    Body,
    Ring,
    ball,
    case_of,
    hollow_cord,
    linear,
    nelms_bodies,
    own_cords,
)
from cordgap.selftest.rows import Known, attempt

# As in the validation: planes, vertices and dose grid that are no multiples of one another.
_PLANES_MM, _VERTEX_MM, _GRID_MM = 2.5, 0.2, 2.3
_FIELDS = (0, 1, 2)
# Volumes in cc, or as a share of the structure; "DC" is the coldest volume.
_CORD = {"D0.035cc": 0.035, "D0.1cc": 0.1, "D1cc": 1.0}
_SHARES = {"D2%": 0.02, "D95%": 0.95}
_COLDEST = {"DC0.035cc": 0.035}
_CLOSING_SHARES = {"D99%": 0.99, "D95%": 0.95, "D5%": 0.05, "D1%": 0.01}
_CLOSING_RADIUS_MM, _COLDEST_GY = 12.0, 4.0
_PLACEMENTS = 5


def accuracy_rows(folder: Path, engines: Sequence[Engine]) -> Iterator[Row]:
    """Return rows of cords (one of them in all positions), bodies that close, and spheres."""
    bodies: list[Body | Ring] = [*own_cords(), hollow_cord()]
    for body in bodies:
        # The one that is tilted and bent differently along x and y lies in every position.
        positions = tuple(ORIENTATIONS) if body.name == "tapered, bent" else ("HFS",)
        for position in positions:
            yield from attempt(
                Known("accuracy", f"cord {body.name.replace(',', ' and')}", position),
                lambda b=body, p=position: _cord(b, p, folder, engines),  # type: ignore[misc]
            )
    for shape in nelms_bodies(_CLOSING_RADIUS_MM):
        yield from attempt(
            Known("accuracy", shape.name),
            lambda s=shape: _closing(s, folder, engines),  # type: ignore[misc]
        )
    for diameter, mean, worst in SPHERE_LIMITS:
        yield from attempt(
            Known("accuracy", f"sphere of {diameter:g} mm"),
            lambda d=diameter, m=mean, w=worst: _spheres(d, m, w, folder),  # type: ignore[misc]
        )


def _cord(body: Body | Ring, position: str, folder: Path, engines: Sequence[Engine]) -> list[Row]:
    outer = body.outer if isinstance(body, Ring) else body
    structure = body.structure(outer.planes(_PLANES_MM, "centres"), _VERTEX_MM)
    # The polygon is what is given: of its area, not of the circle's.
    given = body.as_given(_VERTEX_MM)
    total = given.volume_cc
    rows = []
    for axis in _FIELDS:
        field = linear(axis)
        case = case_of(structure, field.grid(outer, _GRID_MM, SHIFT_MM), patient_position=position)
        write_plan(case, folder / "cord")
        again = read_case(folder / "cord")
        assert again.dose is not None
        solid = build_solid(again.structures[0])
        exact = {n: given.exact(field, v) for n, v in _volumes(total, _CORD, _SHARES).items()}
        exact |= {n: given.exact(field, total - v) for n, v in _COLDEST.items()}
        exact["Mean"] = given.exact_mean(field)
        subject = f"cord {body.name.replace(',', ' and')}, {field.name}"
        found: list[dict[str, float]] = []
        for engine in engines:
            known = Known("accuracy", subject, position, engine)
            dvh = compute_dvh(solid, again.dose, uncertainty=False, engine=engine)
            rows.append(
                known.percent(
                    "volume", dvh.total_volume_cc, total, limit=VOLUME_PERCENT,
                    limit_id="cord-volume",
                )
            )  # fmt: skip
            found.append({n: _value(dvh, n) for n in exact})
            for name, truth in exact.items():
                near = name == "D0.035cc"
                rows.append(
                    known.number(
                        f"{name}[Gy]", found[-1][name], truth, unit="mm",
                        limit=NEAR_MM if near else cord_dose_limit_mm(truth),
                        limit_id="cord-near-maximum" if near else "cord-dose",
                    )
                )  # fmt: skip
        rows += _agreement(Known("accuracy", subject, position), found)
    return rows


def _agreement(known: Known, found: list[dict[str, float]]) -> list[Row]:
    """Hold the compiled loops against numpy."""
    if len(found) < 2:
        return []
    return [
        known.number(
            f"{name}[Gy], compiled against numpy", found[1][name], value, unit="relative",
            limit=ENGINES_SHARE, limit_id="engines", error=(found[1][name] - value) / value,
        )
        for name, value in found[0].items()
    ]  # fmt: skip


def _closing(body: Body, folder: Path, engines: Sequence[Engine]) -> list[Row]:
    """Measure bodies of the kind of Nelms 2015: 4 Gy at the coldest point, 1 Gy/mm."""
    structure = body.structure(body.planes(0.2, "centres"), 2 * _VERTEX_MM)
    total = body.volume_cc
    rows = []
    for axis in (1, 2):
        field = linear(axis, _CLOSING_RADIUS_MM + _COLDEST_GY)
        dose = field.grid(body, 3.0, SHIFT_MM)
        write_plan(case_of(structure, dose), folder / "closing")
        case = read_case(folder / "closing")
        assert case.dose is not None
        solid = build_solid(case.structures[0])
        volumes = _volumes(total, {"D0.03cc": 0.03}, _CLOSING_SHARES)
        exact = {n: body.exact(field, v) for n, v in volumes.items()}
        exact["Mean"] = body.exact_mean(field)
        for engine in engines:
            known = Known("accuracy", f"{body.name}, {field.name}", "HFS", engine)
            dvh = compute_dvh(solid, case.dose, uncertainty=False, engine=engine)
            pairs = {"volume": (dvh.total_volume_cc, total)}
            pairs |= {f"{n}[Gy]": (_value(dvh, n), truth) for n, truth in exact.items()}
            rows += [
                known.percent(name, found, truth, limit=LOCAL_PERCENT, limit_id="closing-body")
                for name, (found, truth) in pairs.items()
            ]
    return rows


def _spheres(diameter: float, mean: float, worst: float, folder: Path) -> list[Row]:
    """Measure small spheres, 64 vertices, planes every 1 mm at several phases."""
    known = Known("accuracy", f"sphere of {diameter:g} mm")
    rows, errors = [], []
    for i in range(_PLACEMENTS):
        body = ball(diameter, (0.31 - 0.1 * i, -0.43 + 0.2 * i, 0.0))
        z = body.low_mm - 1 + (i + 0.5) / _PLACEMENTS + np.arange(diameter + 2)
        structure = body.structure(z[np.abs(z) < diameter / 2], np.pi * diameter / 64)
        case = case_of(structure, linear(0).grid(body, 2.0, SHIFT_MM))
        write_plan(case, folder / "sphere")
        found = build_solid(read_case(folder / "sphere").structures[0]).volume_cc
        errors.append(100 * (found / body.volume_cc - 1))
        rows.append(
            known.percent(
                f"volume, placement {i + 1}", found, body.volume_cc, limit=worst,
                limit_id="small-sphere",
            )
        )  # fmt: skip
    rows.append(
        known.number(
            "volume, mean error", float(np.mean(errors)), 0.0, limit=mean, unit="%",
            limit_id="small-sphere-mean",
        )
    )  # fmt: skip
    return rows


def _volumes(total: float, cc: dict[str, float], shares: dict[str, float]) -> dict[str, float]:
    return cc | {name: share * total for name, share in shares.items()}


def _value(dvh: DVH, name: str) -> float:
    value = parse_metric(f"{name}[Gy]").evaluate(dvh).value
    return float("nan") if value is None else value
