"""What is left of a run: its last characters, its outputs and ``outcome.json``."""

from __future__ import annotations

import codecs
import json
import os
import stat
from collections.abc import Callable
from contextlib import suppress

from dispatcher.payload import encode_outcome
from dispatcher.run import Outcome
from dispatcher.runner.redact import Secrets

LOG_CHARACTERS = 1000
OUTPUT_BYTES = 64 * 1024
_KEPT_BYTES = 4 * LOG_CHARACTERS  # UTF-8 has at most four bytes a character

_HARMLESS = {
    **{code: chr(0x2400 + code) for code in range(32)},
    0x7F: "\u2421",
    **dict.fromkeys(range(0x80, 0xA0), "\ufffd"),
    # Marks that reorder text: what a reviewer reads must be what was written.
    **dict.fromkeys([*range(0x202A, 0x202F), *range(0x2066, 0x206A)], "\ufffd"),
    0x09: "\t",
    0x0A: "\n",
}
"""Control characters as their pictures; line ends and tabs stay."""


class Tail:
    """The last characters of several streams, in order of arrival."""

    def __init__(self) -> None:
        self._text = ""

    def channel(self) -> Callable[[bytes], None]:
        """Where one stream's pieces go; a character cut by a piece's end is put together."""
        decoder = codecs.getincrementaldecoder("utf-8")("replace")

        def add(data: bytes) -> None:
            if len(data) > _KEPT_BYTES:
                decoder.reset()
                data = data[-_KEPT_BYTES:].lstrip(bytes(range(0x80, 0xC0)))
            # Two sizes over, so that a joined piece is cut once in a while and not each time.
            self._text += decoder.decode(data)
            if len(self._text) > 8 * LOG_CHARACTERS:
                self._text = self._text[-2 * LOG_CHARACTERS :]

        return add

    def text(self, secrets: Secrets) -> str:
        """The last 1,000 characters, harmless to show.

        Args:
            secrets: looked for again, since two streams may have put one together.
        """
        text = secrets.redact_text(self._text[-2 * LOG_CHARACTERS :])
        text = text.replace("\r\n", "\n").translate(_HARMLESS)
        return secrets.redact_text(text)[-LOG_CHARACTERS:]


def read_outputs(path: str, secrets: Secrets) -> tuple[dict[str, object], str]:
    """What a formula left in ``$DISINTO_OUTPUTS``, redacted.

    Returns:
        The object, and what is wrong with the file, or "" (also where there is none).
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return {}, ""
    except OSError as error:
        return {}, f"the outputs cannot be read: {error.strerror}"
    try:
        state = os.fstat(fd)
        if not stat.S_ISREG(state.st_mode):
            return {}, "the outputs are not a regular file"
        data = os.read(fd, OUTPUT_BYTES + 1)
    finally:
        os.close(fd)
    if len(data) > OUTPUT_BYTES:
        return {}, f"the outputs have more than {OUTPUT_BYTES} bytes"
    try:
        value = json.loads(data or b"{}")
        if isinstance(value, dict):
            return {_clean_key(k, secrets): _clean(v, secrets) for k, v in value.items()}, ""
    except (ValueError, RecursionError):
        pass
    return {}, "the outputs are not a JSON object"


def _clean_key(key: str, secrets: Secrets) -> str:
    return secrets.redact_text(key)


def _clean(value: object, secrets: Secrets) -> object:
    if isinstance(value, dict):
        return {_clean_key(k, secrets): _clean(v, secrets) for k, v in value.items()}
    if isinstance(value, list):
        return [_clean(item, secrets) for item in value]
    if isinstance(value, str):
        return secrets.redact_text(value)
    # A number may be a secret too.
    shown = json.dumps(value)
    redacted = secrets.redact_text(shown)
    return value if redacted == shown else redacted


def write_outcome(path: str, outcome: Outcome) -> None:
    """Put ``outcome.json`` in place, whole or not at all, and on the disk.

    Raises:
        OSError: it could not be written.
    """
    folder = os.path.dirname(path) or "."  # noqa: PTH120 - pathlib is slow to load
    unfinished = f"{path}.{os.getpid()}"
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
    fd = os.open(unfinished, flags, 0o644)
    try:
        os.write(fd, encode_outcome(outcome))
        os.fsync(fd)
    finally:
        os.close(fd)
    os.replace(unfinished, path)  # noqa: PTH105
    with suppress(OSError):
        fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
