"""Looks for confidential values in the words of others, which are shown only if there are none.

A provider's error may quote what was sent to it, and a machine knows its own credentials. What is found is
not cut out, because the rest would show where it was: the whole text is withheld.

Found is what was sent, if eight letters and digits in a row are repeated, or sixteen letters, and a credential as
it is, in the forms of the runner's redactor, in base32 and base85, in base64 twice, as decimal, octal or binary
numbers, backwards, by ROT13, in another case or width, and set apart by white space, punctuation or line ends. A
code that somebody invents is not found. So whoever chooses the words can tell what it knows; see
docs/security.md. Pure.
"""

from __future__ import annotations

import base64
import codecs
import re
import unicodedata
from collections.abc import Iterable, Iterator

from dispatcher.runner.forms import forms

TEXT_LIMIT = 300
"""Characters of others that are shown at most."""

WITHHELD = "its words are not shown, because they repeat what is confidential"

_QUOTATION, _OF_LETTERS = 8, 16  # characters; with a digit among them, or without, as prose is
_SHORTEST_FORM = 6
_ESCAPES = re.compile(r"\\x|\\u00|U\+00|0[xob]|&#x?|%", re.IGNORECASE)


class Confidential:
    """What is confidential in this run.

    Args:
        values: credentials.
    """

    def __init__(self, values: Iterable[bytes] = ()) -> None:
        self._forms: set[str] = set()
        self._exact: set[str] = set()
        self._sent: set[str] = set()
        for value in values:
            self.add(value)

    def add(self, value: bytes) -> None:
        """Withhold texts with this credential."""
        for form in _forms(value):
            flat = _flat(form)
            if len(flat) >= _SHORTEST_FORM:
                self._forms.add(flat)
            elif squeezed := "".join(form.split()):  # hardly any letters and digits
                self._exact.add(squeezed)

    def add_sent(self, text: str) -> None:
        """Withhold texts that quote this one, which was sent to whoever speaks."""
        data = text.encode("utf-8", "surrogatepass")
        aligned = (base64.b64encode(bytes(before) + data).decode() for before in range(3))
        self._sent |= {_flat(each) for each in (text, data.hex(), *aligned)} - {""}

    def is_in(self, text: str) -> bool:
        """Whether something confidential is found in a text."""
        squeezed = "".join(unicodedata.normalize("NFKC", text).split())
        flat, escaped = _flat(text), _flat(_ESCAPES.sub("", text))
        views = {view for each in (flat, escaped) for view in (each, each[::-1])}
        return (
            any(form in view for form in self._forms for view in views)
            or any(form in squeezed for form in self._exact)
            or any(self._quotes(view) for view in views)
        )

    def shown(self, text: str, *, limit: int = TEXT_LIMIT) -> str:
        """The beginning of a text on one line, or that it is withheld."""
        text = text.strip()
        return WITHHELD if self.is_in(text[: 2 * limit]) else printable(text, limit=limit)

    def _quotes(self, flat: str) -> bool:
        if not self._sent:
            return False
        pieces = {piece for piece in _runs(flat, _QUOTATION) if not piece.isalpha()}
        pieces.update(_runs(flat, _OF_LETTERS))
        return any(piece in sent for sent in self._sent for piece in pieces)


def printable(text: str, *, limit: int = TEXT_LIMIT) -> str:
    """The beginning of a text, without what a terminal would act on."""
    return "".join(c if c.isprintable() else " " for c in text[:limit]).strip()


def _runs(flat: str, length: int) -> Iterator[str]:
    return (flat[at : at + length] for at in range(len(flat) - length + 1))


def _flat(text: str) -> str:
    plain = unicodedata.normalize("NFKC", text).casefold()
    return "".join(c for c in plain if c.isalnum())


def _forms(value: bytes) -> Iterator[str]:
    for each in forms(value):
        yield each.decode("latin-1")
    for part in (value, value[::-1]):
        yield part.decode("latin-1")
        yield codecs.encode(part.decode("latin-1"), "rot13")
        yield part.hex()
        yield base64.b64encode(part).decode().rstrip("=")
        yield base64.b64encode(base64.b64encode(part)).decode().rstrip("=")
        yield base64.b85encode(part).decode()
        yield base64.b32encode(part).decode().rstrip("=")
        yield str(int.from_bytes(part))
        for number in ("{}", "{:03}", "{:x}", "{:o}", "{:03o}", "{:b}", "{:08b}"):
            yield "".join(number.format(byte) for byte in part)
