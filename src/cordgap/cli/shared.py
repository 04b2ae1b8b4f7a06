"""Options that several verbs take together: listed once, put into the signature of each verb."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any, get_type_hints

from cordgap.cli import flags
from cordgap.cli import prior as previous

Verb = Callable[..., None]
# What a verb gets: the values by name. The names are those of PlanOptions.
Given = Mapping[str, Any]

_TYPES: dict[str, Any] = {
    "path": flags.OptionalPathArgument,
    "rtstruct": flags.RtstructOption,
    "rtdose": flags.RtdoseOption,
    "rtplan": flags.RtplanOption,
    "accept": flags.AcceptOption,
    "relative_dose_gy": flags.RelativeDoseOption,
    "cord": flags.CordOption,
    "target": flags.TargetOption,
    "rx": flags.RxOption,
    "fractions": flags.FractionsOption,
    "protocol": flags.ProtocolOption,
    "constraint": flags.ConstraintOption,
    "coverage": flags.CoverageOption,
    "max_mm": flags.MaxOption,
    "method": flags.MethodOption,
    "reachable": flags.ReachableOption,
    "alpha_beta": flags.AlphaBetaOption,
    "scenarios": flags.ScenariosOption,
    "falloff": flags.FalloffOption,
    "level": flags.LevelOption,
    "row": previous.RowOption,
    "prior": previous.PriorOption,
    "prior_fractions": previous.PriorFractionsOption,
    "prior_date": previous.PriorDateOption,
    "registration": previous.RegistrationOption,
    "recovery": previous.RecoveryOption,
}
_DEFAULTS = {"recovery": False}
# Which files a plan is made of, and what is asked of it.
DOUBTS = ("accept", "relative_dose_gy")
FILES = ("path", "rtstruct", "rtdose", "rtplan", *DOUBTS)
ROIS = ("cord", "target", "rx", "fractions")
GOALS = ("protocol", "constraint", "coverage", "max_mm")
ANALYSIS = (
    *ROIS, *GOALS, "method", "reachable", "alpha_beta", "scenarios", "falloff", "level",
)  # fmt: skip
PREVIOUS = ("row", "prior", "prior_fractions", "prior_date", "registration", "recovery")


def takes(*names: str) -> Callable[[Verb], Verb]:
    """Give a verb these options, in the place of its parameter ``given``.

    The verb gets their values as one mapping; typer sees each of them.
    """

    def decorate(verb: Verb) -> Verb:
        hints = get_type_hints(verb, include_extras=True)
        parameters: list[inspect.Parameter] = []
        for parameter in inspect.signature(verb).parameters.values():
            if parameter.name == "given":
                parameters += [
                    parameter.replace(
                        name=name, default=_DEFAULTS.get(name), annotation=_TYPES[name]
                    )
                    for name in names
                ]
            else:
                parameters.append(parameter.replace(annotation=hints[parameter.name]))
        signature = inspect.Signature(parameters)

        @wraps(verb)
        def run(*values: Any, **named: Any) -> None:
            bound = signature.bind(*values, **named)
            bound.apply_defaults()
            given = {name: bound.arguments.pop(name) for name in names}
            verb(given=given, **bound.arguments)

        run.__signature__ = signature  # type: ignore[attr-defined]
        run.__annotations__ = {p.name: p.annotation for p in parameters}
        return run

    return decorate
