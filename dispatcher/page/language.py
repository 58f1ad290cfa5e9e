"""The languages of the page: catalogues, and which one a request is answered in.

English is the language of the source. The catalogues of the others are the ``.po`` files in
``locale/<code>/``, all of them together; they are read when the page starts, without a build step. A
test fails if a text lacks a translation.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from functools import cache
from gettext import GNUTranslations, NullTranslations
from pathlib import Path

from babel import Locale, negotiate_locale
from babel.messages.catalog import Catalog
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po

LOCALE = Path(__file__).parent / "locale"

NAMES = {"en": "English", "nl": "Nederlands", "ar": "العربية"}
"""The languages by code, each with its own name."""

SOURCE = "en"

MOST_ACCEPTED = 20
"""Entries of ``Accept-Language`` that are read."""


@dataclass(frozen=True, eq=False, slots=True)
class Language:
    """One language.

    Attributes:
        code: such as ``nl``.
        locale: for dates and numbers.
        texts: the catalogue.
    """

    code: str
    locale: Locale
    texts: NullTranslations

    @property
    def name(self) -> str:
        """Its own name for itself."""
        return NAMES[self.code]

    @property
    def direction(self) -> str:
        """``ltr`` or ``rtl``."""
        return str(self.locale.text_direction)

    def text(self, message: str, /, **values: object) -> str:
        """A message in this language, its ``%(name)s`` filled in."""
        translated = self.texts.gettext(message) if message else ""
        return translated % values if values else translated


def mark(message: str) -> str:
    """Mark a message to be translated where it is shown; see ``Language.text``."""
    return message


@cache
def language(code: str) -> Language:
    """The language of a code in ``NAMES``."""
    return Language(code, Locale.parse(code), _texts(code))


def chosen(query: str, cookie: str, accepted: str) -> Language:
    """The language of a request: what its address asks for, else what the browser was told before,
    else what its ``Accept-Language`` prefers, else English.
    """
    for wanted in (query, cookie):
        if wanted in NAMES:
            return language(wanted)
    preferred = negotiate_locale(_by_preference(accepted), list(NAMES), sep="-")
    return language(preferred if preferred in NAMES else SOURCE)


def catalog(code: str) -> Catalog:
    """All messages of a language, from each of its files.

    Raises:
        ValueError: a message is in two files, with two translations.
    """
    whole = Catalog(locale=code, charset="utf-8")
    for path in sorted((LOCALE / code).glob("*.po")):
        with path.open("rb") as file:
            part = read_po(file, locale=code)
        for message in part:
            if not message.id:
                continue
            there = whole.get(message.id)
            if there is not None and there.string != message.string:
                raise ValueError(f"{path}: another file translates {message.id!r} differently")
            whole.add(message.id, message.string, flags=message.flags)
    return whole


def _texts(code: str) -> NullTranslations:
    if code == SOURCE:
        return NullTranslations()
    compiled = io.BytesIO()
    write_mo(compiled, catalog(code))
    compiled.seek(0)
    return GNUTranslations(compiled)


def _by_preference(accepted: str) -> list[str]:
    """The tags of an ``Accept-Language``, the most wanted first, each followed by its bare language."""
    weighed = []
    for entry in accepted[:1000].split(",")[:MOST_ACCEPTED]:
        tag, _, parameter = entry.strip().partition(";")
        weight = parameter.strip().removeprefix("q=")
        try:
            weighed.append((float(weight) if weight else 1.0, tag.strip().lower()))
        except ValueError:
            continue
    tags = [tag for weight, tag in sorted(weighed, key=lambda each: -each[0]) if weight > 0]
    return [code for tag in tags for code in (tag, tag.partition("-")[0]) if code]
