"""What ``cordgap check --second-calc`` calls: one total dose as a file, and the calculation."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from cordgap.errors import CordgapError, OptionError, verdict_of

if TYPE_CHECKING:
    from cordgap.case.case import Case
    from cordgap.case.structure import Structure
    from cordgap.check.compare import SecondCalculation
    from cordgap.check.verdict import InputVerdict


def calculate_again(case: Case, structures: Sequence[Structure | None]) -> SecondCalculation:
    """Run the second calculation; a dose that is a sum of files is written as one, and removed.

    Raises
    ------
    OptionError
        If there is no dose, or the sum cannot be written as one RTDOSE.
    """
    from cordgap.check.compare import second_calculation

    chosen = [s for s in structures if s is not None]
    if case.dose is None or sum(1 for f in case.inputs if f.kind == "rtdose") < 2:
        return second_calculation(case, chosen)
    from cordgap.export.plan import write_plan

    # Neither contours nor images are needed: the structure set is read from its own file.
    dose_alone = replace(case, structures=(), image=None, prescription=None, identity={})
    with tempfile.TemporaryDirectory(prefix="cordgap-") as folder:
        try:
            written = write_plan(dose_alone, folder, label="sum").rtdose
        except CordgapError as error:
            raise OptionError(
                f"--second-calc needs the sum of the doses as one RTDOSE: {error}"
            ) from error
        assert written is not None
        return second_calculation(case, chosen, summed_dose=Path(written))


def with_second(verdict: InputVerdict, second: SecondCalculation) -> InputVerdict:
    """Add the findings of the second calculation to the verdict on the input."""
    findings = tuple(dict.fromkeys((*verdict.findings, *second.findings)))
    return replace(verdict, findings=findings, word=verdict_of(findings))
