"""Whether this installation computes what it should: known cases, written and read as DICOM."""
