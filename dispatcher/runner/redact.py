"""Hide secrets in a stream of bytes, exactly, wherever the stream is cut.

One automaton searches for every form of every secret at once (leftmost, then longest). What a
``Redactor`` has let go is final; it keeps back only bytes with which a form could begin, so an
idle stream never sits on anything else.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping

from ahocorasick_rs import BytesAhoCorasick, Implementation, MatchKind

from dispatcher.runner.forms import forms

_OPENING = 4  # bytes of a form that a place must show to be looked at more closely


class Secrets:
    """The values to hide, made ready for any number of streams.

    Args:
        values: each secret by its name. Where two have a form in common the first name is shown.
    """

    def __init__(self, values: Mapping[str, bytes]) -> None:
        names: dict[bytes, str] = {}
        for name, value in values.items():
            for form in forms(value) if value else ():
                names.setdefault(form, name)
        self._forms = sorted(names)
        self._marks = [f"[redacted:{names[form]}]".encode() for form in self._forms]
        self.longest = max(map(len, self._forms), default=0)
        """Bytes of the longest form."""
        self._search = _automaton(self._forms, MatchKind.LeftmostLongest)
        self._openings = _automaton(
            sorted({form[:_OPENING] for form in self._forms}), MatchKind.Standard
        )

    def __bool__(self) -> bool:
        return self._search is not None

    def redact(self, data: bytes) -> bytes:
        """All of ``data`` with every form replaced by ``[redacted:NAME]``."""
        return self.replace(data, last=True)[0]

    def redact_text(self, text: str) -> str:
        """The same for text."""
        data = text.encode("utf-8", "surrogateescape")
        return self.redact(data).decode("utf-8", "surrogateescape")

    def replace(self, data: bytes, *, last: bool) -> tuple[bytes, bytes]:
        """Redact as much of ``data`` as is settled.

        Args:
            data: what is not yet settled, followed by what is new.
            last: True where nothing will follow, so that everything is settled.

        Returns:
            The settled part, redacted, and the rest as it came.
        """
        if self._search is None:
            return data, b""
        pieces: list[bytes] = []
        done, hold = 0, len(data) if last else self._held(data, 0)
        for index, start, end in self._search.find_matches_as_indexes(data):
            if start >= hold:
                # A match that an earlier one reached into moves the border; look again.
                hold = len(data) if last else self._held(data, max(done, hold))
                if start >= hold:
                    break
            pieces += (data[done:start], self._marks[index])
            done = end
        if done > hold:
            hold = self._held(data, done)
        pieces.append(data[done:hold])
        return b"".join(pieces), data[hold:]

    def _held(self, data: bytes, start: int) -> int:
        """Where the longest end of ``data[start:]`` begins that a form could begin with; the
        length of ``data`` where there is none."""
        size = len(data)
        first = max(start, size - self.longest + 1)
        window = data[first:]
        for at in self._candidates(window):
            if self._begins(window[at:]):
                return first + at
        return size

    def _candidates(self, window: bytes) -> list[int]:
        """Places in order where a form's first bytes stand, or the window's own last ones."""
        found: list[int] = []
        if self._openings is not None:
            matches = self._openings.find_matches_as_indexes(window, overlapping=True)
            found = [start for _, start, _ in matches]
        found += range(max(0, len(window) - _OPENING + 1), len(window))
        return sorted(set(found))

    def _begins(self, end: bytes) -> bool:
        """True where ``end`` is a proper beginning of some form."""
        at = bisect_left(self._forms, end)
        while at < len(self._forms) and self._forms[at].startswith(end):
            if len(self._forms[at]) > len(end):
                return True
            at += 1
        return False


class Redactor:
    """One stream. Feed it, write what it gives, and ``finish`` it."""

    def __init__(self, secrets: Secrets) -> None:
        self._secrets = secrets
        self._rest = b""

    def feed(self, data: bytes) -> bytes:
        """What is settled by now."""
        done, self._rest = self._secrets.replace(self._rest + data, last=False)
        return done

    def finish(self) -> bytes:
        """What was kept back, since the stream has ended."""
        done, self._rest = self._secrets.replace(self._rest, last=True)
        return done


def _automaton(patterns: list[bytes], kind: MatchKind) -> BytesAhoCorasick | None:
    if not patterns:
        return None
    return BytesAhoCorasick(patterns, kind, Implementation.ContiguousNFA)
