"""Results and cases that go back to other systems: DICOM files, encapsulated PDF, meshes."""
