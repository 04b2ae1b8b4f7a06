"""Many plans at a time."""
