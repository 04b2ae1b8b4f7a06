"""Tables of the store: their columns with types, units and meaning. docs/batch.md lists them."""

from __future__ import annotations

from dataclasses import dataclass

# Raised when a table changes; store.py brings older files up to date.
STORE_VERSION = 1


@dataclass(frozen=True)
class Column:
    """One column: its name (with the unit), its type, what it holds."""

    name: str
    type: str
    meaning: str


def _columns(*rows: tuple[str, str, str]) -> tuple[Column, ...]:
    return tuple(Column(*row) for row in rows)


_RESULT = (
    ("result_id", "VARCHAR", "hash of input contents, settings and version: one analysis"),
    ("plan_id", "VARCHAR", "pseudonym of the plan"),
)
_PLANS = _columns(
    *_RESULT,
    ("status", "VARCHAR", "ok, refused, failed or timeout"),
    ("code", "VARCHAR", "code of the reason (docs/findings.md)"),
    ("reason", "VARCHAR", "why there is no result, or no separation"),
    ("exceeded", "BOOLEAN", "a limit that decides is exceeded"),
    ("evaluable", "BOOLEAN", "every limit and the separation could be evaluated"),
    ("input_verdict", "VARCHAR", "as `cordgap check` gives it"),
    ("patient_id", "VARCHAR", "pseudonym of the patient"),
    ("machine", "VARCHAR", "pseudonym of the treatment machine"),
    ("planner", "VARCHAR", "pseudonym of the operator of the plan"),
    ("plan_month", "DATE", "first day of the month of the plan"),
    ("dose_gy", "DOUBLE", "prescribed dose"),
    ("fractions", "INTEGER", "fractions"),
    ("dose_type", "VARCHAR", "PHYSICAL or EFFECTIVE"),
    ("rtstruct_sha256", "VARCHAR", "hash of the structure set"),
    ("rtplan_sha256", "VARCHAR", "hash of the plan"),
    ("rtdose_sha256", "VARCHAR", "hashes of the doses, with blanks between"),
    ("settings", "VARCHAR", "settings of the analysis, as JSON"),
    ("cordgap_version", "VARCHAR", "version that analysed it"),
    ("run_id", "VARCHAR", "run that analysed it"),
    ("analysed_at", "TIMESTAMP", "end of the analysis, UTC"),
    ("seconds", "DOUBLE", "time that it took"),
    ("report", "VARCHAR", "folder of its report below the one of --out"),
)
TABLES: dict[str, tuple[Column, ...]] = {
    "plans": _PLANS,
    "structures": _columns(
        *_RESULT,
        ("roi_number", "INTEGER", "number of the structure"),
        ("roi_name", "VARCHAR", "its name, as in the file"),
        ("role", "VARCHAR", "cord, gtv, ..."),
        ("status", "VARCHAR", "ok, partly outside dose grid, ..."),
        ("reason", "VARCHAR", "why it is not ok"),
        ("volume_cc", "DOUBLE", "volume"),
        ("volume_in_dose_grid_cc", "DOUBLE", "volume inside the dose grid"),
        ("min_gy", "DOUBLE", "minimum dose"),
        ("mean_gy", "DOUBLE", "mean dose"),
        ("max_gy", "DOUBLE", "maximum dose"),
    ),
    "metrics": _columns(
        *_RESULT,
        ("roi_number", "INTEGER", "number of the structure"),
        ("roi_name", "VARCHAR", "its name"),
        ("role", "VARCHAR", "its role"),
        ("metric", "VARCHAR", "metric with its unit: D0.035cc[Gy]"),
        ("value", "DOUBLE", "value in that unit"),
        ("plus_minus", "DOUBLE", "uncertainty of the value"),
        ("bound", "VARCHAR", "lower where the value is a lower bound"),
        ("reason", "VARCHAR", "why there is no value"),
    ),
    "constraints": _columns(
        *_RESULT,
        ("constraint_id", "VARCHAR", "row of the constraint table"),
        ("structure", "VARCHAR", "what the limit speaks of"),
        ("roi_name", "VARCHAR", "what it was read on"),
        ("metric", "VARCHAR", "metric evaluated"),
        ("limit_value", "DOUBLE", "limit, in the unit"),
        ("value", "DOUBLE", "value, in the unit"),
        ("plus_minus", "DOUBLE", "uncertainty of the value"),
        ("headroom", "DOUBLE", "limit less value; positive is safe"),
        ("unit", "VARCHAR", "Gy, % or cc"),
        ("verdict", "VARCHAR", "met, exceeded or not evaluable"),
        ("within_uncertainty", "BOOLEAN", "the interval of the value holds the limit"),
        ("decides", "BOOLEAN", "it counts for the verdict on the plan"),
        ("reason", "VARCHAR", "why it is not evaluable"),
    ),
    "separations": _columns(
        *_RESULT,
        ("cord", "VARCHAR", "structure taken as the cord"),
        ("target", "VARCHAR", "structure taken as the target"),
        ("target_role", "VARCHAR", "its role"),
        ("distance_from", "VARCHAR", "what millimetres are measured from"),
        ("question", "VARCHAR", "as planned, re-planned or no plan"),
        ("method", "VARCHAR", "estimator"),
        ("status", "VARCHAR", "ok, already sufficient, ..."),
        ("reason", "VARCHAR", "why there is no number"),
        ("separation_mm", "DOUBLE", "smallest distance now"),
        ("required_separation_mm", "DOUBLE", "estimate of the required one"),
        ("required_low_mm", "DOUBLE", "lower end of its interval"),
        ("required_high_mm", "DOUBLE", "upper end of its interval"),
        ("additional_mm", "DOUBLE", "required less present, at least 0"),
        ("make_mm", "DOUBLE", "upper end rounded up to 0.5 mm"),
        ("overlap_cc", "DOUBLE", "volume common to cord and target"),
        ("resection_cc", "DOUBLE", "target closer than required"),
        ("binding_constraint", "VARCHAR", "limit that asks for most"),
        ("cord_d0035cc_gy", "DOUBLE", "D0.035cc of the cord"),
        ("cord_headroom", "DOUBLE", "smallest headroom of the cord goals, in their unit"),
        ("coverage_metric", "VARCHAR", "headline coverage goal"),
        ("coverage_value", "DOUBLE", "its value"),
        ("coverage_goal", "DOUBLE", "what it must reach"),
        ("coverage_verdict", "VARCHAR", "met, exceeded (missed) or not evaluable"),
    ),
    "schedules": _columns(
        *_RESULT,
        ("dose_gy", "DOUBLE", "dose of the schedule"),
        ("fractions", "INTEGER", "its fractions"),
        ("constraint_id", "VARCHAR", "limit that it was computed for"),
        ("required_separation_mm", "DOUBLE", "estimate"),
        ("required_low_mm", "DOUBLE", "lower end of its interval"),
        ("required_high_mm", "DOUBLE", "upper end of its interval"),
        ("question", "VARCHAR", "question that it answers"),
        ("reason", "VARCHAR", "why there is no number"),
    ),
    "falloff": _columns(
        *_RESULT,
        ("separation_mm", "DOUBLE", "distance of cord and target"),
        ("cord_fraction", "DOUBLE", "D0.035cc of the cord as a share of the prescription"),
        ("gradient_per_mm", "DOUBLE", "share of the prescription lost in a millimetre"),
        ("contact_fraction", "DOUBLE", "share that the cord would get at contact"),
        ("covers", "BOOLEAN", "the plan meets D98 >= 95 %"),
    ),
    "findings": _columns(
        *_RESULT,
        ("code", "VARCHAR", "code (docs/findings.md)"),
        ("severity", "VARCHAR", "info, warning or error"),
        ("roi_name", "VARCHAR", "structure that it is about"),
        ("message", "VARCHAR", "what was found; files are named by their kind"),
    ),
    "comparisons": _columns(
        ("comparison_id", "VARCHAR", "hash of both results"),
        ("plan_id", "VARCHAR", "plan before surgery"),
        ("after_plan_id", "VARCHAR", "plan after surgery"),
        ("predicted_mm", "DOUBLE", "separation that the plan before asked for"),
        ("predicted_low_mm", "DOUBLE", "lower end of its interval"),
        ("predicted_high_mm", "DOUBLE", "upper end of its interval"),
        ("before_mm", "DOUBLE", "separation before"),
        ("achieved_mm", "DOUBLE", "separation after"),
        ("cord_verdict_after", "VARCHAR", "verdict on the cord goals after"),
        ("coverage_verdict_after", "VARCHAR", "verdict on the headline coverage goal after"),
    ),
    "runs": _columns(
        ("run_id", "VARCHAR", "run"),
        ("state", "VARCHAR", "running (or killed), complete, interrupted or stopped"),
        ("started_at", "TIMESTAMP", "start, UTC"),
        ("ended_at", "TIMESTAMP", "end, UTC"),
        ("cordgap_version", "VARCHAR", "version"),
        ("settings", "VARCHAR", "settings, as JSON"),
        ("scheduler", "VARCHAR", "local or dask"),
        ("jobs", "INTEGER", "plans at a time"),
        ("found", "INTEGER", "plans found"),
        ("known", "INTEGER", "known from earlier runs"),
        ("analysed", "INTEGER", "analysed by this run"),
        ("ok", "INTEGER", "of those found: analysed, now or before"),
        ("refused", "INTEGER", "refused"),
        ("failed", "INTEGER", "failed"),
        ("timeout", "INTEGER", "given up"),
        ("exit_code", "INTEGER", "exit code"),
    ),
}
# A row of these belongs to one analysis; those of superseded analyses are kept in `all_...`.
OF_RESULT = tuple(name for name, columns in TABLES.items() if columns[0].name == "result_id")
