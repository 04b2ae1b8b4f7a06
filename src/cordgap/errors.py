"""Every exception that cordgap raises, and the findings that travel with a result.

Errors stop: no number may be given. Findings are doubts that stay with the number.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

# What every page, sheet and document says, whatever it found.
SAFETY_SENTENCES = (
    "Research and second-check use only; not a medical device.",
    "It does not decide whether to operate.",
    "The cord may re-centre after decompression; hardware is not modelled.",
    "Re-image and re-plan after surgery.",
)

Severity = Literal["info", "warning", "error"]
InputWord = Literal["usable", "usable with warnings", "refused"]


class CordgapError(Exception):
    """Base of all errors of cordgap: the message says what failed, where, and what to do."""


class DicomError(CordgapError):
    """A DICOM file is missing, unreadable, inconsistent or of a kind that is not supported."""


class AmbiguousInputError(CordgapError):
    """Several files or structures fit; the message lists them and the option that chooses."""


class GeometryMismatchError(CordgapError):
    """Two things that must share a coordinate system do not."""


class StructureNotFoundError(CordgapError):
    """A structure that was asked for, or that the question needs, is not in the case."""


class StructureError(CordgapError):
    """A structure has no usable solid: it is empty, or a single plane without a thickness."""


class CordNotSeenError(StructureError):
    """The cord is not contoured over all levels of the target: what it gets there is not known."""


class MetricSyntaxError(CordgapError):
    """A metric or goal cannot be read; the message points at the character."""


class OutOfRangeError(CordgapError):
    """A value was asked for outside the range in which it is known."""


class ProtocolError(CordgapError):
    """A constraint table is malformed; the message names table, row and key."""


class OptionError(CordgapError):
    """An option contradicts another one or has a value that makes no sense."""


@dataclass(frozen=True)
class Finding:
    """One doubt or remark about the input or the result.

    Parameters
    ----------
    code : str
        Stable, lower-case, hyphenated; listed in docs/findings.md.
    message : str
        One sentence for a person: what was found and what it means. Never a patient name.
    severity : {"info", "warning", "error"}
        ``error`` means that a number which depends on it is refused.
    roi_name, file : str, optional
        Where it was found.
    found, expected, action : str, optional
        What was seen, what should have been there, what to do.
    """

    code: str
    message: str
    severity: Severity = "warning"
    roi_name: str | None = None
    file: str | None = None
    found: str | None = None
    expected: str | None = None
    action: str | None = None


def verdict_of(findings: Iterable[Finding]) -> InputWord:
    """Return the verdict on an input: an error refuses it, a warning qualifies it."""
    severities = {finding.severity for finding in findings}
    if "error" in severities:
        return "refused"
    return "usable with warnings" if "warning" in severities else "usable"
