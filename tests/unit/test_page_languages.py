"""English, Dutch and Arabic: nothing is left untranslated, and the page mirrors."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

from dispatcher.errors import Dependency
from dispatcher.model.health import WaitingFor
from dispatcher.model.run import Tier
from dispatcher.page import words
from dispatcher.page.formatting import Formats
from dispatcher.page.language import NAMES, SOURCE, catalog, chosen, language
from dispatcher.page.rendering import STATIC, TEMPLATES
from dispatcher.status.action_record import FINISHED
from dispatcher.status.overview import State
from tests.support.messages import messages, missing, unmarked
from tests.support.page_client import a_client, a_site

TRANSLATED = [code for code in NAMES if code != SOURCE]
_VALUES = re.compile(r"%\(\w+\)s|%%")


@pytest.mark.parametrize("code", TRANSLATED)
def test_nothing_is_untranslated(code: str) -> None:
    lacking = missing(code)
    assert not lacking, "python -m tests.support.messages prints what to add"


@pytest.mark.parametrize("code", TRANSLATED)
def test_nothing_is_translated_that_is_gone(code: str) -> None:
    used = {m if isinstance(m, str) else m[0] for m in messages()}
    known = {m.id if isinstance(m.id, str) else m.id[0] for m in catalog(code) if m.id}
    assert not known - used


@pytest.mark.parametrize("code", TRANSLATED)
def test_values_keep_their_places(code: str) -> None:
    for message in catalog(code):
        if isinstance(message.id, str):
            assert Counter(_VALUES.findall(message.id)) == Counter(
                _VALUES.findall(str(message.string))
            ), message.id
            continue
        allowed = set(_VALUES.findall(message.id[1]))
        for form in message.string:
            # A form for exactly one or two need not name the number.
            assert set(_VALUES.findall(form)) | {"%(num)s"} == allowed | {"%(num)s"}, message.id


@pytest.mark.parametrize("path", sorted(TEMPLATES.glob("*.html")), ids=lambda path: path.name)
def test_a_template_has_no_text_of_its_own(path: Path) -> None:
    assert not unmarked(path)


def test_such_text_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "x.html"
    path.write_text('<p>{{ x }} open</p><a title="Close" href="/x">{{ _("y") }}</a>{# Why #}')
    assert unmarked(path) == ["Close", "\u2026 open"]


def test_scripts_have_no_text_for_people() -> None:
    for path in STATIC.glob("*.js"):
        code = re.sub(r"/\*.*?\*/|//[^\n]*", "", path.read_text("utf-8"), flags=re.DOTALL)
        for text in re.findall(r'"([^"]*)"|\'([^\']*)\'|`([^`]*)`', code):
            assert not re.search(r"[A-Za-z]{2,} [A-Za-z]{2,} [A-Za-z]{2,}", "".join(text)), path


@pytest.mark.parametrize(
    ("table", "terms"),
    [
        (words.STATES, {*State, FINISHED}),
        (words.TIERS, set(Tier)),
        (words.WAITING_FOR, set(WaitingFor)),
        (words.DEPENDENCIES, set(Dependency)),
    ],
    ids=["states", "tiers", "waiting_for", "dependencies"],
)
def test_every_term_has_a_word(table: dict[str, str], terms: set[str]) -> None:
    assert set(table) == {str(term) for term in terms}


@pytest.mark.parametrize(
    ("query", "cookie", "accepted", "code"),
    [
        ("", "", "", "en"),
        ("", "", "nl-BE,nl;q=0.9,en;q=0.5", "nl"),
        ("", "", "fr, ar-EG;q=0.7, en;q=0.2", "ar"),
        ("", "", "en;q=0.1, ar;q=0", "en"),
        ("", "ar", "nl", "ar"),
        ("nl", "ar", "en", "nl"),
        ("../x", "\udcff", "nl;q=x, *;q=nan" + ",zz" * 10_000, "en"),
    ],
)
def test_which_language_is_chosen(query: str, cookie: str, accepted: str, code: str) -> None:
    assert chosen(query, cookie, accepted).code == code


@pytest.mark.parametrize(("code", "direction"), [("en", "ltr"), ("nl", "ltr"), ("ar", "rtl")])
def test_a_page_names_its_language_and_direction(tmp_path: Path, code: str, direction: str) -> None:
    client = a_client(a_site(tmp_path))
    answer = client.get(f"/?lang={code}")
    assert f'<html lang="{code}" dir="{direction}"' in answer.text
    assert answer.headers["content-language"] == code
    again = client.get("/")  # remembered
    assert f'<html lang="{code}"' in again.text


def test_the_style_sheet_mirrors() -> None:
    """Nothing in it names left or right."""
    css = (STATIC / "page.css").read_text("utf-8")
    plain = re.sub(r"/\*.*?\*/", "", css, flags=re.DOTALL)
    assert not re.search(r"(?<!-)\b(left|right)\b|-(left|right)\b", plain)


@pytest.mark.parametrize(
    ("code", "ago", "number", "duration"),
    [
        ("en", "5 minutes ago", "12,345.6", "3\u00a0min, 12\u00a0sec"),
        ("nl", "5 minuten geleden", "12.345,6", "3\u00a0min, 12\u00a0sec"),
        ("ar", "قبل 5 دقائق", None, "3\u00a0د، 12\u00a0ث"),
    ],
)
def test_dates_and_numbers_are_of_the_language(
    code: str, ago: str, number: str | None, duration: str
) -> None:
    formats = Formats(language(code), lambda: 1_000_000.0)
    assert ago in str(formats.ago(1_000_000.0 - 300))
    assert number is None or formats.number(12345.6) == number
    assert formats.duration(192.4) == duration


@pytest.mark.parametrize("value", [None, "", 0.0, "yesterday", 1e300, "9999999-01-01", "<b>"])
def test_what_is_no_time_is_a_dash(value: object) -> None:
    formats = Formats(language("en"), lambda: 0.0)
    assert str(formats.ago(value)) == str(formats.moment(value)) == "\N{EN DASH}"
