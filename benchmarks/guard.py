"""Accuracy and speed ratios on a small set against recorded limits; exit 1 if one is broken.

Accuracy limits stand in accuracy.py, those of the ratios to dicompyler-core in speed.py. Usage:
python benchmarks/guard.py
"""

from __future__ import annotations

import importlib.util
import sys

from accuracy import accuracy_failures


def speed_failures() -> list[str]:
    """What speed.py says, where it is there."""
    if importlib.util.find_spec("speed") is None:
        return []
    import speed

    found: list[str] = speed.speed_failures()
    return found


def main() -> None:
    failures = [f"accuracy: {f}" for f in accuracy_failures()]
    failures += [f"speed: {f}" for f in speed_failures()]
    print("\n".join(failures or ["all limits are kept"]))
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
