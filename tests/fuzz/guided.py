"""Coverage-guided fuzzing of the bytes of one file; needs ``pip install atheris`` (Linux).

``python -m tests.fuzz.guided --file rtstruct.dcm --seconds 300``: stops at the first input that
ends in anything but a case or a refusal, and leaves it as ``crash-...`` in the working folder.
"""

from __future__ import annotations

import argparse
import logging
import sys
import tempfile
from pathlib import Path


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--file", default="rtstruct.dcm", help="the file of the plan to damage")
    parser.add_argument("--base", default="explicit")
    parser.add_argument("--seconds", type=int, default=300)
    options = parser.parse_args()
    try:
        import atheris
    except ImportError:
        print("guided fuzzing needs atheris: pip install atheris", file=sys.stderr)
        return 2
    with atheris.instrument_imports(include=["cordgap", "pydicom"]):
        from cordgap.analysis import analyze
        from cordgap.dicom import read_case
        from cordgap.errors import CordgapError
    from tests.fuzz.bases import files_of

    logging.disable(logging.CRITICAL)
    folder = Path(tempfile.mkdtemp(prefix="cordgap-guided-"))
    corpus = folder / "corpus"
    plan = folder / "plan"
    corpus.mkdir()
    plan.mkdir()
    for name, data in files_of(options.base).items():
        (plan / name).write_bytes(data)
    (corpus / "good").write_bytes(files_of(options.base)[options.file])
    seen: set[bytes] = set()

    def one(data: bytes) -> None:
        (plan / options.file).write_bytes(data)
        try:
            case = read_case(plan, with_hashes=False)
            # The analysis is dear; it is run where something new was read.
            mark = repr([(s.roi_name, s.status, len(s.planes)) for s in case.structures]).encode()
            if mark not in seen and len(seen) < 500:
                seen.add(mark)
                analyze(case)
        except CordgapError:
            pass

    atheris.Setup(
        [sys.argv[0], str(corpus), f"-max_total_time={options.seconds}", "-timeout=10",
         "-rss_limit_mb=1500", "-max_len=40000"],
        one,
    )  # fmt: skip
    atheris.Fuzz()
    return 0


if __name__ == "__main__":
    sys.exit(main())
