"""Redaction of what programs write: wrapped in lines, in markup, quoted."""

from __future__ import annotations

import base64
import binascii
import html
import json
import subprocess
from typing import Any
from xml.etree import ElementTree
from xml.sax import saxutils

import markupsafe
import pytest
import yaml

from dispatcher.runner.redact import MAX_BREAKS, Redactor, Secrets
from tests.unit.test_redact import VALUES, _hidden, flat


def _element(text: str) -> ElementTree.Element:
    element = ElementTree.Element("e", {"a": text})
    element.text = text
    return element


TOKEN = b"ghp_16C7e42F292c6912E7710c838347Ae178B4a"
WIDTHS = (1, 2, 3, 4, 5, 7, 16, 19, 60, 64, 72, 75, 76, 77, 80)


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize(
    "encode", [base64.b64encode, base64.urlsafe_b64encode, binascii.hexlify, bytes]
)
def test_a_form_is_hidden_however_it_is_wrapped(encode: Any, width: int, end: bytes) -> None:
    """Wherever the secret stands in what is encoded, and wherever the stream is cut."""
    secrets = Secrets({"S": TOKEN})
    for before in range(76):
        text = encode(b"k" * before + TOKEN + b"tail of it")
        wrapped = end.join(text[at : at + width] for at in range(0, len(text), width)) + end
        out = secrets.redact(wrapped)
        assert out.count(b"[redacted:S]") == 1
        # What it shares with its neighbours, and up to three characters before a line end.
        visible = flat(out).replace(b"[redacted:S]", b"")
        share = len(encode(bytes(300))) / 300
        assert len(visible) <= len(text) - len(TOKEN) * share + 3 + 2
        redactor = Redactor(secrets)
        cut = (7 * before) % len(wrapped)
        pieces = (wrapped[:cut], wrapped[cut : cut + 1], wrapped[cut + 1 :])
        assert b"".join(map(redactor.feed, pieces)) + redactor.finish() == out


@pytest.mark.parametrize("value", [v.strip() for v in VALUES])
@pytest.mark.parametrize("width", [60, 64, 76])
def test_what_base64_and_xxd_print(value: bytes, width: int) -> None:
    for before in (b"", b"k", b"ke", b"user: someone, password: "):
        text = before + value + b"\n"
        _hidden(value, run(["base64", f"-w{width}"], text))
        _hidden(value, run(["bash", "-c", f"od -An -v -tx1 | tr -d ' \\n' | fold -w{width}"], text))


def run(argv: list[str], text: bytes) -> bytes:
    return subprocess.run(argv, input=text, capture_output=True, check=True).stdout


def test_a_short_value_is_not_looked_for_across_lines() -> None:
    secrets = Secrets({"PIN": b"12345"})
    assert secrets.redact(b"12\n345 12345") == b"12\n345 [redacted:PIN]"


def test_a_mark_is_no_place_to_look_for_a_short_value() -> None:
    secrets = Secrets({"A": b"a long secret", "B": b"red"})
    assert secrets.redact(b"a long secret, red") == b"[redacted:A], [redacted:B]"


MARKUP = "it's <b>\"Tom\" & 'Jerry'</b>\n\tnaïve €"


@pytest.mark.parametrize(
    "shown",
    [
        html.escape(MARKUP),
        html.escape(MARKUP, quote=False),
        saxutils.escape(MARKUP),
        saxutils.escape(MARKUP, {"'": "&apos;", '"': "&quot;"}),
        saxutils.quoteattr(MARKUP),
        saxutils.quoteattr(MARKUP.replace('"', "")),
        str(markupsafe.escape(MARKUP)),
        ElementTree.tostring(_element(MARKUP), encoding="unicode"),
        ElementTree.tostring(_element(MARKUP), encoding="us-ascii").decode(),
        html.escape(MARKUP).encode("ascii", "xmlcharrefreplace").decode(),
        html.escape(MARKUP).replace("&#x27;", "&#039;"),
        "".join(f"&#{ord(c)};" for c in MARKUP),
        "".join(f"&#x{ord(c):x};" for c in MARKUP),
        "".join(f"&#x{ord(c):X};" for c in MARKUP),
        "".join(c if c.isalnum() else f"&#{ord(c)};" for c in MARKUP),
        yaml.safe_dump(MARKUP.replace("\n\t", ""), width=1000, allow_unicode=True),
        yaml.safe_dump(
            MARKUP.replace("\n\t", ""), default_style="'", width=1000, allow_unicode=True
        ),
        '"' + MARKUP.replace('"', '""') + '"',
    ],
)
def test_markup_and_doubled_quotes(shown: str) -> None:
    for value in (MARKUP, MARKUP.replace("\n\t", ""), MARKUP.replace('"', "")):
        if "[redacted:S]" in Secrets({"S": value.encode()}).redact_text(shown):
            return
    pytest.fail(shown)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("dele\x7fted key", r'"dele\u007fted key"'),  # jq
        ("dele\x7fted clé", r'"dele\u007fted clé"'),  # jq
        ("dele\x7fted clé", r'"dele\u007fted cl\u00e9"'),  # jq -a
        ("dele\x7fted key", r'"dele\u007Fted key"'),  # .NET
        ("esc\x1baped key", r'"esc\u001Baped key"'),
        (r"C:\users\née", r'"C:\\users\\n\u00E9e"'),
        ("sepa\u2028rated key", r'"sepa\u2028rated key"'),  # Go, without the escapes for HTML too
        ("dele\x7fted key", json.dumps(r'"dele\u007fted key"')),
    ],
)
def test_what_other_programs_write_as_json(value: str, shown: str) -> None:
    _hidden(value.encode(), shown.encode())


@pytest.mark.parametrize("chunk", [1000, 7919, 10**6])
@pytest.mark.parametrize("end", [b"\n", b"\r", b"\r\n"])
@pytest.mark.parametrize("begun", [TOKEN[:3], TOKEN[:4], TOKEN[:-1]])
def test_endless_line_ends_are_not_kept_back(begun: bytes, end: bytes, chunk: int) -> None:
    secrets = Secrets({"S": TOKEN})
    redactor = Redactor(secrets)
    text = begun + end * (200_000 // len(end)) + TOKEN[len(begun) :] + b"x" + TOKEN
    out, given = b"", 0
    for at in range(0, len(text) - 100, chunk):
        piece = text[at : min(at + chunk, len(text) - 100)]
        given += len(piece)
        out += redactor.feed(piece)
        assert given - len(out) <= len(TOKEN) + MAX_BREAKS
    out += redactor.feed(text[given:]) + redactor.finish()
    assert out == text.replace(TOKEN, b"[redacted:S]")


@pytest.mark.parametrize("cut", range(0, 2 * MAX_BREAKS + 20, 7))
@pytest.mark.parametrize(("breaks", "hidden"), [(MAX_BREAKS, True), (MAX_BREAKS + 1, False)])
def test_so_many_line_ends_are_a_wrap_wherever_the_stream_is_cut(
    breaks: int, hidden: bool, cut: int
) -> None:
    text = TOKEN[:20] + b"\n" * breaks + TOKEN[20:]
    redactor = Redactor(Secrets({"S": TOKEN}))
    out = redactor.feed(text[:cut]) + redactor.feed(text[cut:]) + redactor.finish()
    assert out == (b"[redacted:S]" if hidden else text)


def test_a_secret_with_more_line_ends_than_that_is_hidden() -> None:
    value = b"first half" + b"\n" * (3 * MAX_BREAKS) + b"second half"
    for shown in (value, value.replace(b"\n", b"\r\n")):
        assert Secrets({"S": value}).redact(b"a " + shown + b" z") == b"a [redacted:S] z"


@pytest.mark.parametrize("locale", ["C", "C.UTF-8"])
@pytest.mark.parametrize(
    "value", [*(v.strip() for v in VALUES), b"a:~b=~c #d", b"\xe9\xe5\x88\x80\x80 \xd7\x8d,end"]
)
@pytest.mark.parametrize(
    "command", ['env printf %q "$S"', 'env printf %q "x$S"', 'printf %q "x$S"', 'ls -d -- "$S"']
)
def test_what_coreutils_quote(command: str, value: bytes, locale: str) -> None:
    done = subprocess.run(
        ["bash", "-c", command],
        env={b"PATH": b"/usr/bin:/bin", b"LC_ALL": locale.encode(), b"S": value},
        capture_output=True,
        check=False,
    )
    shown = done.stdout + done.stderr
    if b"File name too long" not in shown:
        assert b"[redacted:S]" in Secrets({"S": value}).redact(shown), shown
