"""Redacts secrets in a stream of bytes, exactly, wherever the stream is cut.

Forms of eight bytes or more are searched ignoring line ends, because programs wrap
what they print (base64(1) at 76 columns, PEM at 64): one automaton searches the text with its line
ends taken out, so that the width is irrelevant and costs nothing. Shorter forms are searched
for afterwards, as they are. Both: leftmost, then longest.

The output of a ``Redactor`` is final; it holds back only bytes with which a form could begin, so
an idle stream never holds back anything else. Most lines end with a letter with which some form
begins. So fewer than ``_SEEN`` such bytes before a line end are output as well, and remembered: of
a form that continues after the line end, the rest is hidden.

Nothing is wrapped by ``MAX_BREAKS`` line ends in a row, or by more of them than a secret itself has.
No form is searched across a longer run, so endless line ends are passed on and not held back.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Mapping

from ahocorasick_rs import BytesAhoCorasick, Implementation, MatchKind

from dispatcher.runner.forms import forms

MIN_FOLDED = 8
"""Bytes of a form below which it is not searched across line ends."""

MAX_BREAKS = 256
"""Bytes of line ends in a row across which a form is searched, if no secret has more."""

_BREAKS = b"\r\n"
_STEP = 32  # of the bytes that show whether there can be a long run at all
_SEEN = 4
_OPENING = 4  # bytes of a form that a candidate position must match


class _Patterns:
    """The patterns of one automaton.

    Args:
        names: the secret's name by form.
    """

    def __init__(self, names: Mapping[bytes, str]) -> None:
        self._forms = sorted(names)
        self._marks = [f"[redacted:{names[form]}]".encode() for form in self._forms]
        self._longest = max(map(len, self._forms), default=0)
        self._search = _automaton(self._forms, MatchKind.LeftmostLongest)
        self._openings = _automaton(
            sorted({form[:_OPENING] for form in self._forms}), MatchKind.Standard
        )

    def __bool__(self) -> bool:
        return self._search is not None

    def mark(self, index: int) -> bytes:
        """The replacement of the form with this number."""
        return self._marks[index]

    def find(self, data: bytes, *, last: bool) -> tuple[list[tuple[int, int, int]], int]:
        """Search as much of ``data`` as is settled.

        Args:
            data: the undecided bytes, followed by new ones.
            last: True if nothing will follow, so that everything is decided.

        Returns:
            Number, start and end of each match, and the start of the undecided part.
        """
        if self._search is None:
            return [], len(data)
        matches: list[tuple[int, int, int]] = []
        done, hold = 0, len(data) if last else self._held(data, 0)
        for match in self._search.find_matches_as_indexes(data):
            _, start, end = match
            if start >= hold:
                # A match that an earlier one reached into moves the border; look again.
                hold = len(data) if last else self._held(data, max(done, hold))
                if start >= hold:
                    break
            matches.append(match)
            done = end
        if done > hold:
            hold = self._held(data, done)
        return matches, hold

    def _held(self, data: bytes, start: int) -> int:
        """Where the longest end of ``data[start:]`` begins that a form could begin with; the
        length of ``data`` where there is none."""
        size = len(data)
        first = max(start, size - self._longest + 1)
        window = data[first:]
        for at in self._candidates(window):
            if self._begins(window[at:]):
                return first + at
        return size

    def _candidates(self, window: bytes) -> list[int]:
        """Places in order where a form's first bytes stand, or the window's own last ones."""
        starts: list[int] = []
        if self._openings is not None:
            matches = self._openings.find_matches_as_indexes(window, overlapping=True)
            starts = [start for _, start, _ in matches]
        starts += range(max(0, len(window) - _OPENING + 1), len(window))
        return sorted(set(starts))

    def _begins(self, end: bytes) -> bool:
        """True if ``end`` is a proper beginning of some form."""
        at = bisect_left(self._forms, end)
        while at < len(self._forms) and self._forms[at].startswith(end):
            if len(self._forms[at]) > len(end):
                return True
            at += 1
        return False


class Secrets:
    """The values to hide, prepared for any number of streams.

    Args:
        values: each secret by its name. Where two have a form in common the first name is shown.

    Attributes:
        breaks: the longest run of line ends, in bytes, across which a form is looked for.
    """

    def __init__(self, values: Mapping[str, bytes]) -> None:
        folded: dict[bytes, str] = {}
        exact: dict[bytes, str] = {}
        self.breaks = MAX_BREAKS
        for name, value in values.items():
            for form in forms(value) if value else ():
                runs = re.findall(rb"[\r\n]{%d,}" % MAX_BREAKS, form)
                self.breaks = max(self.breaks, *map(len, runs), 0)
                flat = _without_breaks(form)
                if len(flat) < MIN_FOLDED:
                    exact.setdefault(form, name)
                else:
                    folded.setdefault(flat, name)
        self.folded = _Patterns(folded)
        self.exact = _Patterns(exact)

    def __bool__(self) -> bool:
        return bool(self.folded) or bool(self.exact)

    def redactor(self) -> Redactor:
        """For one stream."""
        return Redactor(self)

    def redact(self, data: bytes) -> bytes:
        """All of ``data`` with every form replaced by ``[redacted:NAME]``."""
        redactor = self.redactor()
        return redactor.feed(data) + redactor.finish()

    def redact_text(self, text: str) -> str:
        """The same for text."""
        data = text.encode("utf-8", "surrogateescape")
        return self.redact(data).decode("utf-8", "surrogateescape")


class Redactor:
    """The redactor of one stream. Feed it, write its output, and ``finish`` it."""

    def __init__(self, secrets: Secrets) -> None:
        self._folded = _Folded(secrets.folded, breaks=secrets.breaks)
        self._exact = _Exact(secrets.exact) if secrets.exact else None

    def feed(self, data: bytes) -> bytes:
        """What is settled by now."""
        return self._through(self._folded.pieces(data, last=False), last=False)

    def finish(self) -> bytes:
        """The bytes held back, after the stream has ended."""
        return self._through(self._folded.pieces(b"", last=True), last=True)

    def _through(self, pieces: list[bytes], *, last: bool) -> bytes:
        """Search the text between the marks for the shorter forms; a mark is no part of one.

        Args:
            pieces: text and mark in turn, beginning and ending with text.
        """
        if self._exact is None:
            return b"".join(pieces)
        out: list[bytes] = []
        for text, mark in zip(pieces[0:-1:2], pieces[1::2], strict=True):
            out += (self._exact.feed(text, last=True), mark)
        out.append(self._exact.feed(pieces[-1], last=last))
        return b"".join(out)


class _Exact:
    """Searches one stream unchanged."""

    def __init__(self, patterns: _Patterns) -> None:
        self._patterns = patterns
        self._rest = b""

    def feed(self, data: bytes, *, last: bool) -> bytes:
        """What is settled by now, with marks."""
        data = self._rest + data
        matches, hold = self._patterns.find(data, last=last)
        pieces: list[bytes] = []
        done = 0
        for index, start, end in matches:
            pieces += (data[done:start], self._patterns.mark(index))
            done = end
        self._rest = data[hold:]
        pieces.append(data[done:hold])
        return b"".join(pieces)


class _Folded:
    """Searches one stream without its line ends, in parts between long runs of them.

    Args:
        breaks: see ``Secrets``.
    """

    def __init__(self, patterns: _Patterns, *, breaks: int) -> None:
        self._patterns = patterns
        self._too_many = breaks + 1
        self._long_run = re.compile(rb"[\r\n]{%d,}" % self._too_many)
        self._samples = re.compile(rb"[\r\n]{%d}" % (self._too_many // _STEP))
        self._run = 0  # bytes of line ends at the end of what was fed
        self._rest = b""
        self._before = b""
        """Bytes without line ends, let go before ``_rest``, with which a form could begin."""

    def pieces(self, data: bytes, *, last: bool) -> list[bytes]:
        """What is settled by now: text and mark in turn, beginning and ending with text."""
        pieces, done = [b""], 0
        for cut in self._cuts(data):
            _append(pieces, self._part(data[done:cut], last=True))
            done = cut
        _append(pieces, self._part(data[done:], last=last))
        return pieces

    def _cuts(self, data: bytes) -> list[int]:
        """Where in ``data`` a run of line ends has become too long to be within a form."""
        inner = data.lstrip(_BREAKS)
        lead = len(data) - len(inner)
        cuts = []
        if self._run < self._too_many <= self._run + lead:
            cuts.append(self._too_many - self._run)
        tail = len(inner) - len(inner.rstrip(_BREAKS))
        self._run = tail if inner else self._run + lead
        if self._samples.search(data[::_STEP]):
            long_runs = self._long_run.finditer(data, lead)
            cuts += (run.start() + self._too_many for run in long_runs)
        return cuts

    def _part(self, data: bytes, *, last: bool) -> list[bytes]:
        data = self._rest + data
        flat = self._before + _without_breaks(data)
        matches, hold = self._patterns.find(flat, last=last)
        if not matches and hold == len(flat):
            self._rest = self._before = b""
            return [data]
        before = len(self._before)
        positions = _Places(data)
        pieces: list[bytes] = []
        done = 0
        for index, start, end in matches:
            begin = positions.of(max(0, start - before))
            begin = _after_early_break(data, begin, seen=max(0, before - start))
            pieces += (data[done:begin], self._patterns.mark(index))
            done = positions.of(end - 1 - before) + 1
        pieces.append(data[done : self._keep(data, flat, hold, positions)])
        return pieces

    def _keep(self, data: bytes, flat: bytes, hold: int, positions: _Places) -> int:
        """Remember what is not settled; returns where in ``data`` it begins."""
        before, tail = len(self._before), flat[hold:]
        if not tail or (len(tail) < _SEEN and data[-1:] in (b"\r", b"\n")):
            self._rest, self._before = b"", tail
            return len(data)
        at = positions.of(hold - before) if hold > before else 0
        self._rest, self._before = data[at:], self._before[hold:]
        return at


def _append(pieces: list[bytes], more: list[bytes]) -> None:
    """Put the first text of ``more`` to the last one of ``pieces``."""
    pieces[-1] += more[0]
    pieces += more[1:]


class _Places:
    """Where the bytes of a text without line ends stand in the text; asked for in rising order."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._returns = b"\r" in data
        self._flat = self._at = 0

    def of(self, index: int) -> int:
        """The position of the byte with number ``index`` without line ends."""
        start, steps = self._at, index - self._flat
        at, breaks = start + steps, self._breaks(start, start + steps)
        while at != start + steps + breaks:
            further = start + steps + breaks
            breaks += self._breaks(at, further)
            at = further
        self._flat, self._at = index, _skip_breaks(self._data, at)
        return self._at

    def _breaks(self, start: int, end: int) -> int:
        count = self._data.count(b"\n", start, end)
        return count + self._data.count(b"\r", start, end) if self._returns else count


def _after_early_break(data: bytes, begin: int, *, seen: int) -> int:
    """Where hiding begins: after a line end that fewer than ``_SEEN`` bytes of the form precede,
    because a stream that stops there has already output them.

    Args:
        begin: place of the first byte of the form in ``data``.
        seen: bytes of the form before ``data``.
    """
    at = begin
    for _ in range(seen, _SEEN - 1):
        after = _skip_breaks(data, at + 1)
        if after != at + 1:
            begin = after
        at = after
    return begin


def _skip_breaks(data: bytes, at: int) -> int:
    while data[at : at + 1] in (b"\r", b"\n"):
        at += 1
    return at


def _without_breaks(data: bytes) -> bytes:
    flat = data.replace(b"\n", b"")
    return flat.replace(b"\r", b"") if b"\r" in flat else flat


def _automaton(patterns: list[bytes], kind: MatchKind) -> BytesAhoCorasick | None:
    if not patterns:
        return None
    return BytesAhoCorasick(patterns, kind, Implementation.ContiguousNFA)
