"""What goes back into planning systems and to surgery, as files beside the report."""

from __future__ import annotations

from cordgap.analysis import CaseResult
from cordgap.errors import CordgapError
from cordgap.export.document import encapsulated_pdf_bytes
from cordgap.export.rtdose import dvh_dose_bytes
from cordgap.export.rtstruct import rtstruct_bytes

STRUCTURES, DVHS, REPORT = "dicom/structures.dcm", "dicom/dvh.dcm", "dicom/report.dcm"


def dicom_contents(
    result: CaseResult, pdf: bytes, *, identify: bool = False, at_mm: float | None = None
) -> tuple[dict[str, bytes], tuple[str, ...]]:
    """Make the DICOM objects of a result: structures, DVHs and the report.

    Parameters
    ----------
    result : CaseResult
        Of a plan that was read from DICOM.
    pdf : bytes
        ``report.pdf``.
    identify : bool
        Whether the patient's identity is written.
    at_mm : float, optional
        Separation of the structures in place of the required one and of what to make.

    Returns
    -------
    contents, notes
        Bytes by path inside the report's folder; notes say what was left out, and why.

    Raises
    ------
    OptionError
        If there is no structure to write.
    DicomError
        If the plan was not read from DICOM files that can be read again.
    """
    structures, notes = rtstruct_bytes(result, at_mm=at_mm, identify=identify)
    contents = {STRUCTURES: structures}
    comment = f"({result.settings.between}, {result.settings.ends})"
    try:
        contents[DVHS], left = dvh_dose_bytes(
            result.case, result.structures, comment=comment, identify=identify
        )
    except CordgapError as error:
        # Before surgery there is no dose; structures and report go all the same.
        notes = (*notes, f"DVHs are not written as DICOM: {error}")
    else:
        if left:
            notes = (*notes, f"DVHs not written, as they are not complete: {', '.join(left)}")
    contents[REPORT] = encapsulated_pdf_bytes(result, pdf, identify=identify)
    return contents, notes
