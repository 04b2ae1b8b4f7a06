"""The report of a result, and with it what goes back into planning systems and to surgery."""

from __future__ import annotations

from pathlib import Path

from cordgap.analysis import CaseResult
from cordgap.errors import CordgapError
from cordgap.export.document import encapsulated_pdf_bytes
from cordgap.export.rtdose import dvh_dose_bytes
from cordgap.export.rtstruct import rtstruct_bytes
from cordgap.report.write import report_contents, write_contents

STRUCTURES, DVHS, REPORT = "dicom/structures.dcm", "dicom/dvh.dcm", "dicom/report.dcm"


def write_bundle(
    result: CaseResult,
    folder: str | Path,
    *,
    identify: bool = False,
    dicom: bool = False,
    mesh: bool = False,
    at_mm: float | None = None,
) -> tuple[list[Path], tuple[str, ...]]:
    """Write the report into a folder, with DICOM objects and meshes where asked for.

    Everything is made before anything is written: the folder gets all of it, or nothing.

    Parameters
    ----------
    result : CaseResult
    folder : path
        Made if it is not there; files of the same names are replaced.
    identify : bool
        Whether the patient's identity is written.
    dicom : bool
        Add ``dicom/``: structures, DVHs and the report as DICOM objects.
    mesh : bool
        Add ``mesh/`` and ``view3d.html``: needs the extra ``cordgap[mesh]``.
    at_mm : float, optional
        Separation of structures and meshes in place of the required one and of what to make.

    Returns
    -------
    files, notes
        ``result.json`` first; notes say what was left out, and why.

    Raises
    ------
    OptionError
        If the folder cannot be written, or something asked for cannot be made.
    DicomError
        If the plan was not read from DICOM files that can be read again.
    """
    contents = report_contents(result, identify=identify)
    notes: list[str] = []
    if dicom:
        pdf = contents["report.pdf"]
        assert isinstance(pdf, bytes)
        more, said = dicom_contents(result, pdf, identify=identify, at_mm=at_mm)
        contents |= more
        notes += said
    if mesh:
        from cordgap.export.mesh import mesh_contents

        meshes, said = mesh_contents(result, at_mm=at_mm)
        contents |= meshes
        notes += said
    return write_contents(folder, contents), tuple(dict.fromkeys(notes))


def dicom_contents(
    result: CaseResult, pdf: bytes, *, identify: bool = False, at_mm: float | None = None
) -> tuple[dict[str, bytes], tuple[str, ...]]:
    """Make the DICOM objects of a result: structures, DVHs, report.

    Without a dose there are no DVHs, which a note says; so it does where none is complete.
    """
    structures, notes = rtstruct_bytes(result, at_mm=at_mm, identify=identify)
    contents = {STRUCTURES: structures}
    comment = f"({result.settings.between}, {result.settings.ends})"
    try:
        contents[DVHS], left = dvh_dose_bytes(
            result.case, result.structures, comment=comment, identify=identify
        )
    except CordgapError as error:
        notes = (*notes, f"DVHs are not written as DICOM: {error}")
    else:
        if left:
            notes = (*notes, f"DVHs not written, as they are not complete: {', '.join(left)}")
    contents[REPORT] = encapsulated_pdf_bytes(result, pdf, identify=identify)
    return contents, notes
