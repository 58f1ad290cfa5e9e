"""The results of a run: its last characters of output, its outputs and ``outcome.json``."""

from __future__ import annotations

import base64
import codecs
import json
import os
import stat
from collections.abc import Callable, Mapping
from contextlib import suppress

from dispatcher.model.payload import TOO_DEEP, encode_outcome, unfit_outputs
from dispatcher.model.run import Outcome
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


def harmless(text: str) -> str:
    """Text without control characters but line ends and tabs."""
    return text.replace("\r\n", "\n").translate(_HARMLESS)


class Tail:
    """The last characters of several streams, in order of arrival."""

    def __init__(self) -> None:
        self._text = ""

    def channel(self) -> Callable[[bytes], None]:
        """A writer for one stream's pieces; a character split between pieces is joined."""
        decoder = codecs.getincrementaldecoder("utf-8")("replace")

        def add(data: bytes) -> None:
            if len(data) > _KEPT_BYTES:
                decoder.reset()
                data = data[-_KEPT_BYTES:].lstrip(bytes(range(0x80, 0xC0)))
            # Twice the size, so that a joined piece is cut occasionally rather than every time.
            self._text += decoder.decode(data)
            if len(self._text) > 8 * LOG_CHARACTERS:
                self._text = self._text[-2 * LOG_CHARACTERS :]

        return add

    def text(self, secrets: Secrets) -> str:
        """The last 1,000 characters, safe to display.

        Args:
            secrets: redacted again, because two streams may have joined into one.
        """
        text = secrets.redact_text(self._text[-2 * LOG_CHARACTERS :])
        text = harmless(text)
        return secrets.redact_text(text)[-LOG_CHARACTERS:]


def encode_short(streams: Mapping[str, bytes | None]) -> dict[str, str]:
    """The whole of all streams for the outcome; nothing if one of them (None) is too long for that."""
    found = {name: data for name, data in streams.items() if data is not None}
    if len(found) < len(streams):
        return {}
    return {name: base64.b64encode(data).decode() for name, data in found.items() if data}


def read_outputs(path: str, secrets: Secrets) -> tuple[dict[str, object], str]:
    """The formula's ``$DISINTO_OUTPUTS``, redacted.

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
    value, trouble = _parsed(data)
    return {_clean_key(k, secrets): _clean(v, secrets) for k, v in value.items()}, trouble


def _parsed(data: bytes) -> tuple[dict[str, object], str]:
    """The object, and what is wrong with the text, or ""."""
    if len(data) > OUTPUT_BYTES:
        return {}, f"the outputs have more than {OUTPUT_BYTES} bytes"
    try:
        value = json.loads(data or b"{}")
    except RecursionError:
        return {}, TOO_DEEP
    except ValueError:
        value = None
    if not isinstance(value, dict):
        return {}, "the outputs are not a JSON object"
    trouble = unfit_outputs(value)
    return ({}, trouble) if trouble else (value, "")


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


class OutcomeFile:
    """Writes ``outcome.json`` atomically and durably.

    The file is opened before the formula starts, so that no formula runs whose outcome could not
    be kept, and under a name that the formula cannot guess beforehand. It may still find and remove
    it, or put something in its way; ``write`` removes that, because no process of the formula is
    alive by then. What a formula writes there itself does not verify (see ``payload``).

    Args:
        path: of ``outcome.json``.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._unfinished = ""
        self._fd = -1

    def open(self) -> None:
        """Create the file that will become ``outcome.json``.

        Raises:
            OSError: it cannot be created.
        """
        unfinished = f"{self._path}.{os.urandom(16).hex()}"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
        self._fd = os.open(unfinished, flags, 0o644)
        self._unfinished = unfinished

    def write(self, outcome: Outcome, *, key: str) -> bytes:
        """Put ``outcome.json`` in place, and return its bytes.

        Args:
            key: ``outcome_key`` of the run, or "".

        Raises:
            OSError: it could not be written.
        """
        if not self._intact():
            self.open()
        try:
            os.ftruncate(self._fd, 0)
            data = encode_outcome(outcome, key=key)
            view = memoryview(data)
            while view:
                view = view[os.write(self._fd, view) :]
            os.fsync(self._fd)
        finally:
            os.close(self._fd)
            self._fd = -1
        try:
            os.replace(self._unfinished, self._path)  # noqa: PTH105 - pathlib is slow to load
        except IsADirectoryError:
            os.rename(self._path, f"{self._unfinished}.in-the-way")  # noqa: PTH104
            os.replace(self._unfinished, self._path)  # noqa: PTH105
        with suppress(OSError):
            folder = os.path.dirname(self._path) or "."  # noqa: PTH120
            fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                os.fsync(fd)
            finally:
                os.close(fd)
        return data

    def _intact(self) -> bool:
        """False if the file was not opened, or no longer exists under its name."""
        if self._fd < 0:
            return False
        try:
            state = os.stat(self._unfinished, follow_symlinks=False)  # noqa: PTH116
        except OSError:
            return False
        return os.path.samestat(state, os.fstat(self._fd))
