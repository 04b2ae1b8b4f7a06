"""Mutants of good plans, and what the readers make of them; run as ``python -m tests.fuzz.run``."""
