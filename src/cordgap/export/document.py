"""The report as an Encapsulated PDF, for the archive that holds the plan."""

from __future__ import annotations

from cordgap.analysis import CaseResult
from cordgap.errors import DicomError
from cordgap.export.derived import finished, read_source, reference, start
from cordgap.export.plan import RTDOSE_STORAGE, RTPLAN_STORAGE, RTSTRUCT_STORAGE

ENCAPSULATED_PDF_STORAGE = "1.2.840.10008.5.1.4.1.1.104.1"
_CLASSES = {"rtstruct": RTSTRUCT_STORAGE, "rtdose": RTDOSE_STORAGE, "rtplan": RTPLAN_STORAGE}


def encapsulated_pdf_bytes(result: CaseResult, pdf: bytes, *, identify: bool = False) -> bytes:
    """Wrap a PDF report into a DICOM object that refers to the files of the plan.

    Parameters
    ----------
    result : CaseResult
        Of a plan that was read from DICOM: the object belongs to the study of its RTSTRUCT.
    pdf : bytes
        The file as :func:`cordgap.report.document.document_pdf` gives it.
    identify : bool
        Whether patient name, identifier and birth date are written; the same word as for the PDF.

    Raises
    ------
    DicomError
        If the bytes are no PDF, or the plan was not read from DICOM or cannot be read again.
    """
    if not pdf.startswith(b"%PDF-"):
        raise DicomError("what is to be encapsulated is no PDF: it does not start with %PDF-")
    case = result.case
    struct = next((f for f in case.inputs if f.kind == "rtstruct" and f.path is not None), None)
    if struct is None:
        raise DicomError(
            "a report is written as DICOM only for a plan that was read from an RTSTRUCT, whose "
            "study it belongs to"
        )
    files = [f for f in case.inputs if f.kind in _CLASSES and f.sop_instance_uid]
    source = read_source(struct, ("StudyInstanceUID", "SpecificCharacterSet"))
    ds = start(source, ENCAPSULATED_PDF_STORAGE, "DOC", case.identity if identify else {})
    del ds.OperatorsName  # of series of radiotherapy objects alone
    ds.SeriesDescription = "Report by cordgap"
    ds.SeriesNumber = ds.InstanceNumber = "1"
    ds.ConversionType = "WSD"
    ds.ContentDate = ds.ContentTime = ds.AcquisitionDateTime = ""
    ds.BurnedInAnnotation = "YES" if identify else "NO"
    ds.DocumentTitle = "Separation of tumour from spinal cord"
    ds.ConceptNameCodeSequence = []
    ds.SourceInstanceSequence = [reference(_CLASSES[f.kind], f.sop_instance_uid) for f in files]
    ds.MIMETypeOfEncapsulatedDocument = "application/pdf"
    ds.EncapsulatedDocument = pdf + b"\0" * (len(pdf) % 2)
    ds.EncapsulatedDocumentLength = len(pdf)
    return finished(ds, files)
