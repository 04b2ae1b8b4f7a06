"""The DICOM node: plans come from senders, archives and watched folders, results go back."""
