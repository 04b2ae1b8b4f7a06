"""What the verbs of the network share: options, the extra, and an end that leaves nothing half."""

from __future__ import annotations

import logging
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cordgap._version import __version__
from cordgap.errors import OptionError

if TYPE_CHECKING:
    from cordgap.network.desk import Desk, Outcome
    from cordgap.network.exports import Folder
    from cordgap.network.inbox import Inbox
    from cordgap.network.receive import Tally

AetOption = Annotated[str, typer.Option("--aet", metavar="AET", help="Our DICOM name.")]
TlsOption = Annotated[bool, typer.Option("--tls", help="Encrypt; see --cert, --key, --ca.")]
CertOption = Annotated[Path | None, typer.Option(metavar="FILE", help="Our certificate, PEM.")]
KeyOption = Annotated[Path | None, typer.Option(metavar="FILE", help="Its key, PEM.")]
CaOption = Annotated[
    Path | None, typer.Option("--ca", metavar="FILE", help="Certificates of who is trusted, PEM.")
]
ObjectMbOption = Annotated[int, typer.Option(min=1, help="Largest object, in MB.")]
ObjectsOption = Annotated[int, typer.Option(min=1, help="Most objects that --into holds.")]
FreeMbOption = Annotated[int, typer.Option(min=0, help="What stays free on the disk, in MB.")]

ResultsOption = Annotated[
    Path, typer.Option("--out", metavar="DIR", help="Folder of results, one inside it a plan.")
]
SettleOption = Annotated[
    float, typer.Option(min=0, help="A plan is complete when nothing changed for so many seconds.")
]
PatienceOption = Annotated[
    float, typer.Option(min=0, help="Wait so long for a file that others refer to, in seconds.")
]
TimeoutOption = Annotated[float, typer.Option(min=1, help="Give a plan up after so many seconds.")]
PacsOption = Annotated[
    str,
    typer.Option("--pacs", metavar="AET@HOST:PORT|URL", help="The archive; a URL for DICOMweb."),
]
_VERDICTS = {0: "met", 1: "exceeded", 3: "not evaluable"}


def require_extra() -> None:
    """See that the packages of the extra are there.

    Raises
    ------
    OptionError
        If one is not.
    """
    for name in ("pynetdicom", "dicomweb_client"):
        if find_spec(name) is None:
            raise OptionError(f"{name} is not installed: pip install 'cordgap[pacs]'")


def make_inbox(folder: Path, max_object_mb: int, max_objects: int, keep_free_mb: int) -> Inbox:
    """Return the inbox that the options describe."""
    from cordgap.network.inbox import Inbox, Limits

    return Inbox(folder, Limits(max_object_mb << 20, max_objects, keep_free_mb << 20))


@contextmanager
def until_stopped() -> Iterator[None]:
    """Run the block until it ends, or Ctrl-C or SIGTERM ends it; both are a regular end."""

    def stop(_number: int, _frame: Any) -> None:
        raise KeyboardInterrupt

    earlier = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    except KeyboardInterrupt:
        pass
    finally:
        signal.signal(signal.SIGTERM, earlier)


def transfer_document(verb: str, **values: Any) -> dict[str, Any]:
    """Return ``cordgap.transfer/1``."""
    empty = {"stored": 0, "repeated": 0, "sent": 0, "refused": {}, "studies": 0, "analyses": None}
    head = {"schema": "cordgap.transfer/1", "cordgap_version": __version__, "verb": verb}
    return head | empty | values


def arrived(tally: Tally) -> dict[str, Any]:
    """Return what a transfer document says of objects that came."""
    return {
        "stored": tally.stored,
        "repeated": tally.repeated,
        "refused": dict(tally.refused),
        "studies": len(tally.studies),
    }


def refused_words(refused: dict[str, int]) -> str:
    """Say how many objects were refused, and why."""
    if not refused:
        return "0 refused"
    reasons = ", ".join(f"{code} {count}" for code, count in sorted(refused.items()))
    return f"{sum(refused.values())} refused ({reasons})"


@dataclass
class Report:
    """Prints what becomes of plans as it happens, and counts it."""

    silent: bool
    outcomes: list[Outcome] = field(default_factory=list)

    def say(self, event: Outcome | str) -> None:
        """Print one event of :func:`cordgap.network.desk.watch`."""
        if isinstance(event, str):
            if event:
                logging.getLogger("cordgap").warning("%s", event)
            return
        self.outcomes.append(event)
        if not self.silent:
            print(_line_of(event), flush=True)

    @property
    def exit_code(self) -> int:
        """4 where a plan was refused or failed, then 3, 1, 0 as for one plan."""
        codes = {o.exit_code if o.status == "ok" else 4 for o in self.outcomes}
        return next((code for code in (4, 3, 1) if code in codes), 0)

    def closing(self) -> str:
        """Say how many plans came out how."""
        words = [
            f"{sum(o.status == status for o in self.outcomes)} {word}"
            for status, word in (("ok", "analysed"), ("refused", "refused"), ("failed", "failed"),
                                 ("timeout", "given up"))
        ]  # fmt: skip
        return f"plans: {', '.join(words)}"

    def document(self, desk: Desk, source: Folder) -> dict[str, Any]:
        """Return ``cordgap.watch/1``."""
        return {
            "schema": "cordgap.watch/1",
            "cordgap_version": __version__,
            "outcomes": [asdict(outcome) for outcome in self.outcomes],
            "on_record": len(desk.outcomes()),
            "unreadable": len(source.unreadable),
        }


def _line_of(outcome: Outcome) -> str:
    verdict = _VERDICTS.get(outcome.exit_code or 0, "") if outcome.status == "ok" else ""
    tail = f": {outcome.reason} [{outcome.code}]" if outcome.reason else ""
    words = verdict or outcome.status
    return f"{outcome.plan}  {words}, {outcome.files} files, {outcome.seconds:.1f} s{tail}"
