"""Every exception that cordgap raises, and the findings that travel with a result.

Errors stop: no number may be given. Findings are doubts that stay with the number.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, Self

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
    """Base of all errors of cordgap: the message says what failed, where, and what to do.

    Parameters
    ----------
    message : str
        For a person; never a patient name.
    code : str, optional
        Stable, lower-case, hyphenated; listed in docs/findings.md. Each class has its own for
        where none is given.
    file, roi_name, found, expected, action : str, optional
        Where it was found, what was seen, what should have been there, what to do.
    """

    default_code = "refused"

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        file: str | None = None,
        roi_name: str | None = None,
        found: str | None = None,
        expected: str | None = None,
        action: str | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code or self.default_code
        self.file = file
        self.roi_name = roi_name
        self.found = found
        self.expected = expected
        self.action = action

    def finding(self, severity: Severity = "error") -> Finding:
        """Return the error as a finding, for who lists it instead of stopping."""
        return Finding(
            self.code,
            str(self),
            severity=severity,
            roi_name=self.roi_name,
            file=self.file,
            found=self.found,
            expected=self.expected,
            action=self.action,
        )

    def of_file(self, file: str) -> Self:
        """Return the same error with the name of the file in front of its message."""
        message = str(self) if self.file else f"{file}: {self}"
        return type(self)(
            message,
            code=self.code,
            file=self.file or file,
            roi_name=self.roi_name,
            found=self.found,
            expected=self.expected,
            action=self.action,
        )


class DicomError(CordgapError):
    """A DICOM file is missing, unreadable, inconsistent or of a kind that is not supported."""

    default_code = "file-refused"


class AmbiguousInputError(CordgapError):
    """Several files or structures fit; the message lists them and the option that chooses."""

    default_code = "ambiguous"


class GeometryMismatchError(CordgapError):
    """Two things that must share a coordinate system do not."""

    default_code = "geometry-mismatch"


class StructureNotFoundError(CordgapError):
    """A structure that was asked for, or that the question needs, is not in the case."""

    default_code = "structure-not-found"


class StructureError(CordgapError):
    """A structure has no usable solid: it is empty, or a single plane without a thickness."""

    default_code = "structure-unusable"


class CordNotSeenError(StructureError):
    """The cord is not contoured over all levels of the target: what it gets there is not known."""

    default_code = "cord-not-seen"


class MetricSyntaxError(CordgapError):
    """A metric or goal cannot be read; the message points at the character."""

    default_code = "metric-syntax"


class OutOfRangeError(CordgapError):
    """A value was asked for outside the range in which it is known."""

    default_code = "out-of-range"


class ProtocolError(CordgapError):
    """A constraint table is malformed; the message names table, row and key."""

    default_code = "protocol"


class OptionError(CordgapError):
    """An option contradicts another one or has a value that makes no sense."""

    default_code = "option"


class NetworkError(CordgapError):
    """Another computer does not answer, refuses, or sends what cannot be kept."""

    default_code = "network"


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
