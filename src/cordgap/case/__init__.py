"""What a plan is, free of DICOM: grids, structures, prescription, case."""
