"""The input of ``git fast-import``: its commands, and the stream of one commit."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterable, Iterator

from dispatcher.ops_repo.records import Entry, NewFile
from dispatcher.settings import OpsRepoSettings


def commit_stream(
    settings: OpsRepoSettings,
    ref: str,
    commands: Iterable[bytes],
    message: str,
    *,
    base: str | None,
) -> bytes:
    """The input for one commit, whose hash fast-import prints."""
    who = author(settings)
    text = message.encode("utf-8", "replace")
    return b"".join(
        (
            f"commit {ref}\nmark :1\n".encode(),
            f"committer {who} {int(time.time())} +0000\n".encode(),
            b"data %d\n%b\n" % (len(text), text),
            f"from {base}\n".encode() if base else b"",
            *commands,
            b"\nget-mark :1\ndone\n",
        )
    )


def added(files: Iterable[NewFile]) -> Iterator[bytes]:
    """fast-import's commands for new files."""
    for file in files:
        yield b"M 100644 inline " + _quoted(file.path)
        yield b"data %d\n%b\n" % (len(file.data), file.data)


def removed(path: str) -> bytes:
    """fast-import's command that removes a path."""
    return b"D " + _quoted(path)


def placed(path: str, entry: Entry | None) -> bytes:
    """fast-import's command for the new entry at a path; None removes it."""
    if entry is None:
        return removed(path)
    return f"M {entry.mode:o} {entry.oid} ".encode() + _quoted(path)


def author(settings: OpsRepoSettings) -> str:
    """``name <address>`` of commits of ours."""
    return f"{_plain(settings.author_name)} <{_plain(settings.author_email)}>"


def _plain(name: str) -> str:
    """A name without what git's identity line cannot hold."""
    return re.sub(r"[<>\n\0]", "", name).strip()


def _quoted(path: str) -> bytes:
    """A path in fast-import's C-style quoting, with the newline."""
    out = bytearray(b'"')
    for byte in os.fsencode(path):
        if byte in b'"\\':
            out += b"\\" + bytes((byte,))
        elif byte < 0x20 or byte >= 0x7F:
            out += b"\\%03o" % byte
        else:
            out.append(byte)
    return bytes(out) + b'"\n'
