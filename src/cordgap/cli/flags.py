"""Options that several verbs share, as typer reads them from the signature of a verb."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

RX_RANGE_GY = (0.01, 200.0)
FRACTIONS_RANGE = (1, 60)
MAX_RANGE_MM = (0.5, 20.0)
ALPHA_BETA_RANGE_GY = (0.1, 30.0)
ACCEPT_WORDS = ("frame-of-reference", "one-fraction")
MethodName = Literal["trim", "plan-gradient", "isodose-recession", "population-falloff"]

OptionalPathArgument = Annotated[
    Path | None,
    typer.Argument(
        help="Folder or ZIP file of the exported plan; not needed with --rtstruct and --rtdose.",
        show_default=False,
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="No messages on stderr.")]
VerboseOption = Annotated[int, typer.Option("--verbose", "-v", count=True, help="More messages.")]
RtstructOption = Annotated[
    str | None, typer.Option(metavar="FILE", help="RTSTRUCT to use: a path, or a name inside PATH.")
]
RtdoseOption = Annotated[
    list[str] | None,
    typer.Option(metavar="FILE", help="RTDOSE to use; repeat for the beams of one plan."),
]
RtplanOption = Annotated[
    str | None, typer.Option(metavar="FILE", help="RTPLAN to use: a path, or a name inside PATH.")
]
AcceptOption = Annotated[
    list[str] | None,
    typer.Option(
        metavar="WHAT",
        help="Take responsibility for frame-of-reference (dose and contours state different ones) "
        "or one-fraction (a FRACTION dose is of one fraction: multiply it); repeatable.",
    ),
]
RelativeDoseOption = Annotated[
    float | None,
    typer.Option(
        "--relative-dose-gy",
        metavar="GY",
        min=RX_RANGE_GY[0],
        max=RX_RANGE_GY[1],
        help="Dose in Gy that 100 stands for, for a dose in percent (DoseUnits RELATIVE).",
    ),
]
CordOption = Annotated[str | None, typer.Option(metavar="NAME", help="ROI that is the cord.")]
TargetOption = Annotated[str | None, typer.Option(metavar="NAME", help="ROI that is the target.")]
RxOption = Annotated[
    float | None,
    typer.Option(
        metavar="GY", min=RX_RANGE_GY[0], max=RX_RANGE_GY[1], help="Prescribed dose in Gy."
    ),
]
FractionsOption = Annotated[
    int | None,
    typer.Option(
        metavar="N", min=FRACTIONS_RANGE[0], max=FRACTIONS_RANGE[1], help="Number of fractions."
    ),
]
ProtocolOption = Annotated[
    str | None, typer.Option(metavar="ID|FILE", help="Constraint table (see cordgap protocols).")
]
ConstraintOption = Annotated[
    list[str] | None,
    typer.Option(metavar="GOAL", help='Cord goal instead of the table, "D0.035cc[Gy]<=17".'),
]
CoverageOption = Annotated[
    list[str] | None,
    typer.Option(metavar="GOAL", help='Coverage goal instead of "D98%[%]>=95".'),
]
MaxOption = Annotated[
    float | None,
    typer.Option(
        "--max-mm",
        min=MAX_RANGE_MM[0],
        max=MAX_RANGE_MM[1],
        metavar="MM",
        help="Largest separation considered.",
    ),
]
LevelOption = Annotated[
    list[str] | None,
    typer.Option(metavar="NAME=FROM:TO", help="Name levels by z in mm, T7=-12:8; repeatable."),
]
MethodOption = Annotated[
    MethodName | None,
    typer.Option(help="Estimator instead of the one that fits the plan."),
]
ReachableOption = Annotated[
    str | None,
    typer.Option(
        metavar="SEXTANTS", help="Sextants surgery can clear: anterior,left-anterolateral."
    ),
]
AlphaBetaOption = Annotated[
    float | None,
    typer.Option(
        "--alpha-beta",
        metavar="GY",
        min=ALPHA_BETA_RANGE_GY[0],
        max=ALPHA_BETA_RANGE_GY[1],
        help="Alpha/beta of the cord for numbers of fractions without a published limit.",
    ),
]
ScenariosOption = Annotated[
    str | None,
    typer.Option(
        metavar="default|FILE",
        help="Delivery uncertainty: cord dose and separation in many scenarios (docs/uncertainty).",
    ),
]
FalloffOption = Annotated[
    str | None,
    typer.Option(
        metavar="FILE", help="Falloff model of your own plans (learn-falloff), without a dose."
    ),
]
