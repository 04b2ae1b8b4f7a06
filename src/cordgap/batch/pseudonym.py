"""Pseudonyms from a site key that is kept outside the database."""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from contextlib import suppress
from pathlib import Path

from cordgap.errors import OptionError

KEY_VARIABLE = "CORDGAP_SITE_KEY"
_KEY_BYTES = 32
_DIGITS = 16


def default_key_file() -> Path:
    """Return where the key of a site is: ``CORDGAP_SITE_KEY``, else in the user's settings."""
    if named := os.environ.get(KEY_VARIABLE):
        return Path(named)
    home = os.environ.get("XDG_CONFIG_HOME") or os.environ.get("APPDATA")
    return (Path(home) if home else Path.home() / ".config") / "cordgap" / "site.key"


def site_key(file: Path) -> str:
    """Read the key, 64 hexadecimal digits; made, readable for its owner alone, if there is none.

    Raises
    ------
    OptionError
        If the file holds something else, or cannot be made.
    """
    try:
        if not file.exists():
            file.parent.mkdir(parents=True, exist_ok=True)
            with suppress(FileExistsError):  # another run made it meanwhile
                handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
                with os.fdopen(handle, "w", encoding="ascii") as stream:
                    stream.write(secrets.token_hex(_KEY_BYTES) + "\n")
        key = file.read_text(encoding="ascii").strip()
        good = len(bytes.fromhex(key)) == _KEY_BYTES
    except (OSError, ValueError) as error:
        raise OptionError(
            f"the site key {file.name} cannot be used ({type(error).__name__}); name a file of 64 "
            f"hexadecimal digits with --site-key, or a new one to be made",
            code="site-key",
        ) from error
    if not good:
        raise OptionError(
            f"the site key {file.name} is not of 64 hexadecimal digits; name another one with "
            "--site-key, or a new one to be made",
            code="site-key",
        )
    return key


def pseudonym(key: str, kind: str, *words: str) -> str:
    """Return 16 hexadecimal digits that stand for an identifier; without the key they say nothing.

    >>> pseudonym("00" * 32, "patient", "123") == pseudonym("00" * 32, "patient", "123")
    True
    >>> pseudonym("00" * 32, "patient", "123") == pseudonym("00" * 32, "plan", "123")
    False
    """
    # File names need not be text in any encoding.
    message = "\0".join((kind, *words)).encode("utf-8", "surrogateescape")
    return hmac.new(bytes.fromhex(key), message, hashlib.sha256).hexdigest()[:_DIGITS]
