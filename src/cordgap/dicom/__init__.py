"""Files in: a folder of DICOM RT objects becomes a case."""

from cordgap.dicom.discover import Discovery, FileRecord, discover
from cordgap.dicom.read import read_case
from cordgap.dicom.select import Selection, select_files

__all__ = ["Discovery", "FileRecord", "Selection", "discover", "read_case", "select_files"]
