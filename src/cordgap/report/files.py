"""Files that are there whole or not at all."""

from __future__ import annotations

import secrets
from pathlib import Path


def write_file(path: Path, content: bytes | str) -> Path:
    """Write a file through a temporary one beside it, so that no reader sees half of it.

    Text is written as UTF-8, line ends as they are.
    """
    data = content.encode("utf-8") if isinstance(content, str) else content
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        part.write_bytes(data)
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    return path
