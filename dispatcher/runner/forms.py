"""The forms in which a secret may show up in output.

For a value of five bytes or more: as it is; each line of it; percent-encoded, where needed or every
byte; as base64 at each of its three alignments; as hex; every byte as ``\\x`` and its hex; escaped for
JSON (Python's, JavaScript's, Go's, jq's way), for the shell
(single quotes, ``printf %q`` of bash and of coreutils, ``$'…'``, double quotes), for HTML and XML
(named and numeric) and as a Python literal (``repr``, ``ascii``); with quotes doubled (YAML, SQL, CSV). Shorter values are
hidden as they are, and in no other form, since their encodings are too short to mean anything.
Of an HMAC of Vault's transit engine (``vault:v1:…``) its bytes are hidden as well, in the same forms.
Each form of eight bytes or more is found however it is wrapped in lines; see ``redact``.

Not covered, since no list of patterns could be: compressed or encrypted output, base64 of base64,
characters set apart (``s e c``), case changed, a secret cut in pieces by the formula itself. Base64 characters at either end that
share bits with foreign bytes stay visible, at most five bits of the secret at each end.
"""

from __future__ import annotations

import binascii
import json
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from urllib.parse import quote, quote_plus

from dispatcher.model.derived import split_hmac

MIN_ENCODED = 5
"""Bytes of a value below which only the value itself is hidden."""

MIN_LINE = 8
"""Bytes of a line of a multi-line value below which it is not hidden on its own."""

_MIN_PATTERN = 5
_ARMOUR = b"-----"
_HMAC = b"vault:v"
_URL_SAFE = bytes.maketrans(b"+/", b"-_")
_WRAPS = (76, 64)  # base64(1) and MIME; PEM
_JS_COMPONENT = "!'()*"  # what encodeURIComponent leaves, besides letters, digits and -_.~
_JS_URI = ";,/?:@&=+$!*'()#"  # what encodeURI leaves
_HTML_IN_JSON = str.maketrans(
    {
        "<": "\\u003c",
        ">": "\\u003e",
        "&": "\\u0026",
        "\u2028": "\\u2028",
        "\u2029": "\\u2029",
    }
)
_JSON_ESCAPE = re.compile(r"\\(?:u[0-9a-f]{4}|.)")
_DOUBLE_QUOTED = str.maketrans({c: "\\" + c for c in '\\"$`'})
_NAMED = {
    7: "\\a", 8: "\\b", 9: "\\t", 10: "\\n", 11: "\\v", 12: "\\f", 13: "\\r", 27: "\\E",
}  # fmt: skip
_BACKSLASHED = frozenset(b" !\"$&'()*,;<>?[\\]^`{|}")
"""What bash's ``printf %q`` puts a backslash before; seen on bash 5.2."""

_HTML_CORE = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
_HTML_QUOTES: tuple[dict[str, str], ...] = (
    {},  # XML text; html.escape(quote=False)
    {'"': "&quot;"},  # XML attributes
    {'"': "&quot;", "'": "&#x27;"},  # html.escape
    {'"': "&quot;", "'": "&#39;"},  # JavaScript's libraries
    {'"': "&#34;", "'": "&#39;"},  # Go, MarkupSafe
    {'"': "&quot;", "'": "&apos;"},  # XML
    {'"': "&quot;", "'": "&#039;"},  # PHP
)
_XML_SPACE = str.maketrans({"\t": "&#9;", "\n": "&#10;", "\r": "&#13;"})
_NAMED_BY_COREUTILS = {code: name for code, name in _NAMED.items() if code != 27}

_ABOVE_ASCII = frozenset(range(128, 256))
_UNPRINTABLE = frozenset([*range(0x80, 0xA0), 0x2028, 0x2029, *range(0xDC80, 0xDD00)])
"""What a UTF-8 locale does not print: further controls, line ends, bytes that are no UTF-8."""


def forms(value: bytes) -> set[bytes]:
    """Every byte string to hide for one secret value.

    Args:
        value: the secret; white space around it is not part of what is searched for.
    """
    core = value.strip() or value
    if len(core) < MIN_ENCODED:
        return {core}
    spellings = {core}
    for part in _parts(core):
        spellings.add(part)
        spellings.update(f for f in _encoded(part) if len(f) >= _MIN_PATTERN)
    return spellings


def _parts(core: bytes) -> Iterator[bytes]:
    """The value, its variants of line ends, and its longer lines; of an HMAC of Vault's, its bytes."""
    yield core
    if core.startswith(_HMAC):
        with suppress(ValueError):
            yield split_hmac(core.decode())[1]
    lines = core.splitlines()
    if len(lines) < 2:
        return
    for end in (b"\n", b"\r\n"):
        yield end.join(lines)
    for line in lines:
        text = line.strip()
        if len(text) >= MIN_LINE and not text.startswith(_ARMOUR):
            yield text


def _encoded(part: bytes) -> Iterator[bytes]:
    yield from _base64(part)
    digits = binascii.hexlify(part)
    yield digits
    yield digits.upper()
    yield from _every_byte(part)
    yield from _percent(part)
    yield from _shell(part)
    text = part.decode("utf-8", "surrogateescape")
    for escaped in (
        *_json(text), *_python(text), *_lines_escaped(text), *_html(text), *_quotes_doubled(text)
    ):  # fmt: skip
        yield escaped.encode("utf-8", "surrogateescape")


def _base64(part: bytes) -> Iterator[bytes]:
    """The characters that the secret alone determines, for each alignment within other bytes; and
    the whole text with its padding, also with a final newline, and each line of it where it is
    wrapped as tools wrap it."""
    aligned = []
    for before in range(3):
        text = binascii.b2a_base64(b"\0" * before + part, newline=False)
        first = (before * 8 + 5) // 6
        aligned.append(text[first : (before + len(part)) * 8 // 6])
    for whole in (part, part + b"\n"):
        text = binascii.b2a_base64(whole, newline=False)
        aligned.append(text)
        for width in _WRAPS:
            lines = [text[at : at + width] for at in range(0, len(text), width)]
            if len(lines) > 1:
                aligned += (line for line in lines if len(line) >= MIN_LINE)
    for text in aligned:
        yield text
        yield text.translate(_URL_SAFE)


def _every_byte(part: bytes) -> Iterator[bytes]:
    """Each byte escaped, whether it needs it or not: ``%73%74``, ``\\x73\\x74``."""
    for before in ("%", "\\x"):
        for number in ("{:02x}", "{:02X}"):
            yield "".join(before + number.format(byte) for byte in part).encode()


def _percent(part: bytes) -> Iterator[bytes]:
    for text in (
        quote(part, safe=""),
        quote(part),
        quote_plus(part),
        quote_plus(part, safe="*").replace("~", "%7E"),  # HTML forms
        quote(part, safe=_JS_COMPONENT),
        quote(part, safe=_JS_URI),
    ):
        yield text.encode()
        yield _lower_escapes(text).encode()


def _lower_escapes(text: str) -> str:
    head, *rest = text.split("%")
    return "%".join([head, *(piece[:2].lower() + piece[2:] for piece in rest)])


def _json(text: str) -> Iterator[str]:
    for ascii_only in (True, False):
        plain = json.dumps(text, ensure_ascii=ascii_only)[1:-1]
        for once in {plain, _without_delete(plain)}:
            yield once
            yield once.replace("/", "\\/")
            yield once.translate(_HTML_IN_JSON)
            yield json.dumps(once, ensure_ascii=ascii_only)[1:-1]  # JSON within JSON
            if "\\u" in once:
                yield _upper_escapes(once)


def _without_delete(text: str) -> str:
    """DEL escaped, as jq does it; to the others it is a character like any."""
    return text.replace("\x7f", "\\u007f")


def _upper_escapes(text: str) -> str:
    return _JSON_ESCAPE.sub(
        lambda match: "\\u" + match[0][2:].upper() if match[0][1] == "u" else match[0], text
    )


def _python(text: str) -> Iterator[str]:
    for plain in (repr(text), ascii(text)):
        yield plain[1:-1]
        yield plain[1:-1].replace("'", "\\'")
    raw = text.encode("utf-8", "surrogateescape")
    yield repr(raw)[2:-1]


def _lines_escaped(text: str) -> Iterator[str]:
    if "\n" in text:
        lines = text.replace("\r\n", "\n").split("\n")
        yield "\\n".join(lines)
        yield "\\r\\n".join(lines)


def _shell(part: bytes) -> Iterator[bytes]:
    for inner in (b"'\\''", b"'\"'\"'"):
        yield part.replace(b"'", inner)
    text = part.decode("utf-8", "surrogateescape")
    yield text.translate(_DOUBLE_QUOTED).encode("utf-8", "surrogateescape")
    yield from _backslashed(part)
    yield _coreutils(part.decode("latin-1"), octal=_ABOVE_ASCII).encode("latin-1")
    yield _coreutils(text, octal=_UNPRINTABLE).encode("utf-8", "surrogateescape")
    yield _dollar_quoted(part.decode("latin-1"), octal=_ABOVE_ASCII).encode("latin-1")
    yield _dollar_quoted(text, octal=_UNPRINTABLE).encode("utf-8", "surrogateescape")


def _backslashed(part: bytes) -> Iterator[bytes]:
    plain = b"".join(b"\\%c" % c if c in _BACKSLASHED else b"%c" % c for c in part)
    yield plain
    yield plain.replace(b":~", b":\\~").replace(b"=~", b"=\\~")


def _coreutils(text: str, *, octal: frozenset[int]) -> str:
    """The inside of what coreutils quote for a shell: ``'abc'$'\\003''def'``.

    Args:
        text, octal: as for ``_dollar_quoted``.
    """
    out = []
    escaping = False
    for char in text:
        escape = _escape(char, octal, _NAMED_BY_COREUTILS)
        if char == "'":
            out.append("'\\''")
            escaping = False
            continue
        if bool(escape) != escaping:
            out.append("'$'" if escape else "''")
            escaping = bool(escape)
        out.append(escape or char)
    return "".join(out).removeprefix("'$'")


def _escape(char: str, octal: frozenset[int], named: Mapping[int, str]) -> str:
    """How ``$'…'`` writes a character that a terminal does not show; "" for another."""
    code = ord(char)
    if code in named:
        return named[code]
    if code < 32 or code == 127 or code in octal or (octal is _UNPRINTABLE and _unassigned(char)):
        raw = (code,) if octal is _ABOVE_ASCII else char.encode("utf-8", "surrogateescape")
        return "".join(f"\\{byte:03o}" for byte in raw)
    return ""


def _unassigned(char: str) -> bool:
    if char.isascii():
        return False
    import unicodedata

    return unicodedata.category(char) == "Cn"


def _dollar_quoted(text: str, *, octal: frozenset[int]) -> str:
    """The inside of ``$'…'``, as bash writes it.

    Args:
        text: bytes as Latin-1 for a locale without UTF-8, else characters.
        octal: the code points above ASCII that are written byte by byte, in octal.
    """
    return "".join(
        "\\" + char if char in "\\'" else _escape(char, octal, _NAMED) or char for char in text
    )


def _html(text: str) -> Iterator[str]:
    """Escaped for HTML and XML; beyond ASCII as it is, and as numbers."""
    for quotes in _HTML_QUOTES:
        entities: dict[str, str | int | None] = {**_HTML_CORE, **quotes}
        escaped = text.translate(str.maketrans(entities))
        yield escaped
        yield escaped.translate(_XML_SPACE)
        if not text.isascii():
            yield escaped.encode("ascii", "xmlcharrefreplace").decode()
    codes = [ord(char) for char in text]
    yield "".join(f"&#{code};" for code in codes)
    yield "".join(f"&#x{code:x};" for code in codes)
    yield "".join(f"&#x{code:X};" for code in codes)
    for number in ("&#{};", "&#x{:x};", "&#x{:X};"):
        yield "".join(c if c.isalnum() else number.format(ord(c)) for c in text)


def _quotes_doubled(text: str) -> Iterator[str]:
    yield text.replace("'", "''")  # YAML, SQL
    yield text.replace('"', '""')  # CSV
