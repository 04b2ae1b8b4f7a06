"""What a structure is, from its name: TG-263 names first, then an explicit alias table.

Names are compared without case, blanks, underscores, hyphens and dots, and without what is left of
an accented letter after a wrong character set. A name that is in neither list has the role
``other``: nothing is guessed, and the user says which structure is meant.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from typing import Literal

Role = Literal[
    "cord", "cord_prv", "thecal_sac", "canal", "cauda_equina", "sacral_plexus",
    "brachial_plexus", "esophagus", "gtv", "ctv", "itv", "ptv", "body", "vertebra", "other",
]  # fmt: skip
NameSource = Literal["TG-263", "alias table", "option", "none"]

TARGET_ROLES: tuple[Role, ...] = ("gtv", "ctv", "itv", "ptv")

# AAPM TG-263 spellings (Mayo et al. 2018, doi:10.1016/j.ijrobp.2017.12.013).
_TG263: dict[str, Role] = {
    "SpinalCord": "cord",
    "SpinalCanal": "canal",
    "ThecalSac": "thecal_sac",
    "CaudaEquina": "cauda_equina",
    "SacralPlex": "sacral_plexus",
    "BrachialPlex": "brachial_plexus",
    "BrachialPlex_L": "brachial_plexus",
    "BrachialPlex_R": "brachial_plexus",
    "BrachialPlexs": "brachial_plexus",
    "Esophagus": "esophagus",
    "External": "body",
    "Body": "body",
}

# Names met in exports, in several languages. Add a line here, never a rule that guesses.
_ALIASES: dict[Role, tuple[str, ...]] = {
    "cord": (
        "cord", "true cord", "truecord", "cord true", "spinal cord", "spinalcord", "sc",
        "medulla", "medulla spinalis", "myelon", "myelum", "rueckenmark", "rückenmark",
        "ruggenmerg", "moelle", "moelle epiniere", "moelle épinière", "medula", "medula espinal",
        "médula", "médula espinal", "rdzeń kręgowy",
        "midollo", "midollo spinale", "cordon medular", "sp cord", "spinal_cord_mr", "cord mr",
        "脊髄", "脊髓", "척수", "спинной мозг", "omurilik", "rygmarv", "selkäydin",
        "cord mri", "cord_myelo", "cord myelogram", "ryggmarg", "ryggmärg", "rdzen kregowy",
    ),
    "cord_prv": (
        "cord prv", "sc prv", "prv cord", "prv sc", "prv spinalcord", "prv spinal cord",
        "spinal cord prv", "spinalcord prv", "medulla prv", "prv medulla", "myelon prv",
        "prv myelon", "moelle prv", "prv moelle", "midollo prv", "prv midollo",
    ),
    "thecal_sac": ("thecal sac", "thecalsac", "dural sac", "duralsac", "thecal", "dura", "csf sac"),
    "canal": (
        "canal", "spinal canal", "spinalcanal", "vertebral canal", "canal medullaire",
        "canal médullaire", "canal medular", "spinalkanal", "canale midollare", "canale spinale",
    ),
    "cauda_equina": ("cauda", "cauda equina", "caudaequina"),
    "sacral_plexus": ("sacral plexus", "sacralplexus", "plexus sacralis"),
    "brachial_plexus": ("brachial plexus", "brachialplexus", "plexus brachialis"),
    "esophagus": ("oesophagus", "esophagus", "oesophage", "speiseroehre", "speiseröhre",
                  "esofago", "esófago", "slokdarm"),
    "body": ("body", "external", "patient", "skin", "outline", "koerper", "körper",
             "contour externe"),
}  # fmt: skip

_MIN_PLAIN_LETTERS = 4
_IGNORED = re.compile(r"[\s_\-.]+")
# TG-263: the PRV suffix carries the margin in mm, "_PRV05".
_PRV = re.compile(r"^(?P<organ>.+?)prv(?P<margin>\d{1,2})?$")
# TG-263: targets start with the type, then classifier, number and free text.
_TARGET = re.compile(r"^(gtv|ctv|itv|ptv)(?:sb|par|vas|[pnvm])?\d{0,2}(?:$|[\s_\-.!^~+])", re.I)
_TARGET_CODE = re.compile(r"^(gtv|ctv|itv|ptv)[\s_\-.]?[ctls]\d{1,2}", re.I)
_VERTEBRA = re.compile(r"^(?:vb|vert|vertebra|vertebral body)?[\s_\-.]*([CTLS]\d{1,2})$", re.I)


def _key(name: str) -> str:
    return _IGNORED.sub("", name.strip().casefold())


def _spellings(name: str) -> set[str]:
    """Return what a name may have become: as it is, without accents, and misread.

    A writer that leaves SpecificCharacterSet out or names a wrong one turns an accented letter
    into other letters, into replacement characters, or drops it.
    """
    key = _key(name)
    found = {key, _key(unicodedata.normalize("NFKD", key).encode("ascii", "ignore").decode())}
    if not key.isascii() and any(c.isascii() and c.isalpha() for c in key):
        # At least four plain letters must be left, or the rest could be anything.
        for misread in (
            "".join(c for c in key if c.isascii()),
            "".join(c if c.isascii() else "\ufffd" for c in key),
            "".join(c if c.isascii() else "?" for c in key),
            _key(key.encode("utf-8").decode("latin-1")),
        ):
            if sum(c.isascii() and c.isalpha() for c in misread) >= _MIN_PLAIN_LETTERS:
                found.add(misread)
    return found - {""}


_TG263_KEYS = {_key(name): role for name, role in _TG263.items()}
_ALIAS_KEYS = {
    key: role for role, names in _ALIASES.items() for name in names for key in _spellings(name)
}


@dataclass(frozen=True)
class NamedRole:
    """A role and how it was found.

    ``numbered`` is true where the name carries a copy number ("SPINAL CORD2"), which deserves a
    look: there may be an older or a newer version of the same structure.
    """

    role: Role
    source: NameSource
    numbered: bool = False


def identify(roi_name: str) -> NamedRole:
    """Find the role of a structure from its name.

    Examples
    --------
    >>> identify("SpinalCord").role, identify("SPINAL CORD2").role, identify("SC PRV").role
    ('cord', 'cord', 'cord_prv')
    >>> identify("SpinalCord_PRV02").role, identify("GTV_T7").role, identify("optBRAIN").role
    ('cord_prv', 'gtv', 'other')
    """
    key = _key(roi_name)
    if key in _TG263_KEYS:
        return NamedRole(_TG263_KEYS[key], "TG-263")
    if key in _ALIAS_KEYS:
        return NamedRole(_ALIAS_KEYS[key], "alias table")
    match = _PRV.match(key)
    if match:
        organ = identify(match["organ"])
        role: Role = "cord_prv" if organ.role == "cord" else "other"
        return NamedRole(role, organ.source if role != "other" else "none")
    match = _TARGET.match(roi_name.strip()) or _TARGET_CODE.match(roi_name.strip())
    if match:
        target: Role = match[1].lower()  # type: ignore[assignment]
        return NamedRole(target, "TG-263")
    if _VERTEBRA.match(roi_name.strip()):
        return NamedRole("vertebra", "alias table")
    base = re.sub(r"\d{1,2}$", "", key)
    if base != key and (base in _TG263_KEYS or base in _ALIAS_KEYS):
        found = identify(base)
        return NamedRole(found.role, "alias table", numbered=True)
    return NamedRole("other", "none")
