"""Redaction: exact wherever the stream is cut, and complete for every form it promises."""

from __future__ import annotations

import base64
import itertools
import json
import re
import shlex
import subprocess
from collections.abc import Iterable
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from dispatcher.runner.forms import MIN_ENCODED, forms
from dispatcher.runner.redact import MIN_FOLDED, Redactor, Secrets
from tests.support.thorough import tries

PEM = (
    b"-----BEGIN OPENSSH PRIVATE KEY-----\n"
    + b"\n".join(base64.b64encode(bytes([7 * i % 251] * 52)) for i in range(1, 6))
    + b"\n-----END OPENSSH PRIVATE KEY-----\n"
)

SECRET = st.binary(min_size=1, max_size=40).filter(lambda v: v.strip() and b"\0" not in v)
SHORT_ALPHABET = st.lists(st.sampled_from([b"a", b"b", b"ab", b"\n"]), min_size=1, max_size=12).map(
    b"".join
)
SECRET_SETS = st.dictionaries(
    st.sampled_from(["ALPHA", "BETA", "GAMMA"]),
    SECRET | SHORT_ALPHABET.filter(lambda v: bool(v.strip())),
    min_size=1,
    max_size=3,
)


@st.composite
def texts_with(draw: st.DrawFn) -> tuple[dict[str, bytes], list[bytes]]:
    """Secrets, and a text of their forms, beginnings of forms and noise, cut into chunks."""
    secrets = draw(SECRET_SETS)
    known = sorted(form for value in secrets.values() for form in forms(value))
    form = st.sampled_from(known)
    beginning = form.flatmap(lambda f: st.integers(0, len(f)).map(lambda n: f[:n]))
    noise = st.binary(max_size=12) | SHORT_ALPHABET
    text = b"".join(draw(st.lists(form | beginning | noise, max_size=12)))
    cuts = sorted(draw(st.lists(st.integers(0, len(text)), max_size=10)))
    edges = [0, *cuts, len(text)]
    return secrets, [text[a:b] for a, b in itertools.pairwise(edges)]


@settings(max_examples=tries(50, 400), deadline=None)
@given(texts_with())
@example(({"A": b"abcdefgh"}, [b"abcd", b"efg", b"abcdefgh"]))
def test_chunks_do_not_matter(case: tuple[dict[str, bytes], list[bytes]]) -> None:
    values, chunks = case
    secrets = Secrets(values)
    redactor = Redactor(secrets)
    streamed = b"".join(redactor.feed(chunk) for chunk in chunks) + redactor.finish()
    assert streamed == secrets.redact(b"".join(chunks))


@settings(max_examples=tries(25, 200), deadline=None)
@given(texts_with())
def test_one_byte_at_a_time(case: tuple[dict[str, bytes], list[bytes]]) -> None:
    values, chunks = case
    text = b"".join(chunks)
    secrets = Secrets(values)
    redactor = Redactor(secrets)
    streamed = b"".join(redactor.feed(text[i : i + 1]) for i in range(len(text)))
    assert streamed + redactor.finish() == secrets.redact(text)


@settings(max_examples=tries(50, 400), deadline=None)
@given(texts_with())
def test_the_leftmost_longest_form_is_replaced(case: tuple[dict[str, bytes], list[bytes]]) -> None:
    """The automata against plain alternations, longest first: of the longer forms without regard
    to line ends, then of the shorter ones between the marks."""
    values, chunks = case
    text = b"".join(chunks)
    folded: dict[bytes, str] = {}
    exact: dict[bytes, str] = {}
    for name, value in values.items():
        for form in forms(value):
            if len(flat(form)) < MIN_FOLDED:
                exact.setdefault(form, name)
            else:
                folded.setdefault(flat(form), name)
    places = [at for at, byte in enumerate(text) if byte not in b"\r\n"]
    done, expected = 0, b""
    for match in alternation(folded).finditer(flat(text)) if folded else ():
        begin = early_break(places, match.start())
        expected += replaced(exact, text[done:begin]) + mark(folded[match[0]])
        done = places[match.end() - 1] + 1
    expected += replaced(exact, text[done:])
    assert Secrets(values).redact(text) == expected


def flat(data: bytes) -> bytes:
    return data.translate(None, b"\r\n")


def alternation(names: Iterable[bytes]) -> re.Pattern[bytes]:
    longest_first = sorted(names, key=len, reverse=True)
    return re.compile(b"|".join(re.escape(form) for form in longest_first), re.DOTALL)


def early_break(places: list[int], start: int) -> int:
    """Fewer than four bytes before a line end are left as they are."""
    for ahead in (3, 2, 1):
        if places[start + ahead] != places[start + ahead - 1] + 1:
            return places[start + ahead]
    return places[start]


def mark(name: str) -> bytes:
    return f"[redacted:{name}]".encode()


def replaced(names: dict[bytes, str], text: bytes) -> bytes:
    return alternation(names).sub(lambda m: mark(names[m[0]]), text) if names else text


@settings(max_examples=tries(37, 300), deadline=None)
@given(texts_with())
def test_no_form_is_left(case: tuple[dict[str, bytes], list[bytes]]) -> None:
    """Between the marks nothing of any secret is left; two pieces may still touch over a mark."""
    values, chunks = case
    redactor = Redactor(Secrets(values))
    out = b"".join(redactor.feed(chunk) for chunk in chunks) + redactor.finish()
    for piece in re.split(rb"\[redacted:[A-Z]+\]", out):
        for value in values.values():
            assert not any(form in piece for form in forms(value))


@settings(max_examples=tries(37, 300), deadline=None)
@given(texts_with())
def test_only_what_could_begin_a_secret_is_kept_back(
    case: tuple[dict[str, bytes], list[bytes]],
) -> None:
    values, chunks = case
    secrets = Secrets(values)
    text = b"".join(chunks)
    redactor = Redactor(secrets)
    out = redactor.feed(text)
    folded, exact = redactor._folded, redactor._exact
    rest = folded._rest
    known = {form for value in values.values() for form in forms(value)}
    assert text.endswith(rest)
    begun = folded._before + flat(rest)
    assert not begun or any(flat(form).startswith(begun) and flat(form) != begun for form in known)
    short = exact._rest if exact else b""
    assert text.endswith(short + rest)
    assert not short or any(form.startswith(short) and form != short for form in known)
    # A line end is a reason to let go of what is in no way conspicuous.
    assert not rest.endswith(b"\n") or len(begun) >= 4
    # Nothing is kept back twice, and nothing gets lost: without a secret all comes out as it was.
    if not any(flat(form) in flat(text) for form in known):
        assert out + short + rest == text


def test_an_idle_stream_holds_nothing_harmless() -> None:
    redactor = Redactor(Secrets({"TOKEN": b"hunter2hunter2"}))
    assert redactor.feed(b"progress 10% ") == b"progress 10% "
    assert redactor.feed(b"hunt") == b""
    assert redactor.feed(b"ing") == b"hunting"


def test_an_idle_stream_shows_whole_lines() -> None:
    redactor = Redactor(Secrets({"TOKEN": b"hunter2hunter2"}))
    assert redactor.feed(b"is it a match\n") == b"is it a match\n"
    assert redactor.feed(b"unrelated\n") == b"unrelated\n"
    assert redactor.feed(b"hun\n") == b"hun\n"
    assert redactor.feed(b"ter2hunter2 more") == b"[redacted:TOKEN] more"


def test_without_secrets_everything_passes() -> None:
    redactor = Redactor(Secrets({}))
    assert redactor.feed(b"anything") == b"anything"
    assert redactor.finish() == b""


def test_equal_values_show_the_first_name() -> None:
    assert (
        Secrets({"A": b"same-value", "B": b"same-value"}).redact(b"same-value") == b"[redacted:A]"
    )


VALUES = [
    b"correct horse battery staple",
    b'it\'s "quoted" $HOME `x` \\ back/slash & <tag>',
    "schlüssel-ключ-鍵".encode(),
    b"two\nlines with 'quotes'\tand tab",
    b"\x1b[31mescape\x07\xff\xfe bytes",
    b"p@ss/w+rd=?&%20#~*()!",
    PEM,
]


def _hidden(value: bytes, shown: bytes) -> None:
    secrets = Secrets({"S": value})
    out = secrets.redact(b"before " + shown + b" after")
    assert b"[redacted:S]" in out, (shown, out)
    assert not any(form in out for form in forms(value))


@pytest.mark.parametrize("value", VALUES)
def test_forms_of_other_libraries(value: bytes) -> None:
    text = value.decode("utf-8", "surrogateescape")
    for shown in (
        value,
        value.strip(),
        value.hex().encode(),
        value.hex().upper().encode(),
        quote(value, safe="").encode(),
        quote_plus(value).encode(),
        "".join(f"%{byte:02x}" for byte in value).encode(),
        "".join(f"%{byte:02X}" for byte in value).encode(),
        "".join(f"\\x{byte:02x}" for byte in value).encode(),
        "".join(f"\\x{byte:02X}" for byte in value).encode(),
        base64.b64encode(value),
        base64.urlsafe_b64encode(value),
        base64.encodebytes(value),
        base64.b64encode(b"user:" + value + b"@host"),
        base64.b64encode(b"x:" + value),
        base64.b64encode(b"key=" + value + b";"),
        json.dumps(text).encode("utf-8", "surrogateescape"),
        json.dumps(text, ensure_ascii=False).encode("utf-8", "surrogateescape"),
        json.dumps({"error": json.dumps({"k": text})}).encode("utf-8", "surrogateescape"),
        shlex.quote(text).encode("utf-8", "surrogateescape"),
        repr(value).encode(),
        ascii(text).encode(),
        ascii([text, "'"]).encode(),
    ):
        _hidden(value.strip(), shown)


@pytest.mark.parametrize("line", PEM.splitlines()[1:-1])
def test_each_line_of_a_key_is_hidden(line: bytes) -> None:
    _hidden(PEM, line)
    _hidden(PEM, base64.b64encode(line))


def test_line_ends_do_not_matter() -> None:
    for shown in (PEM.replace(b"\n", b"\r\n"), PEM.replace(b"\n", b"\\n")):
        out = Secrets({"KEY": PEM}).redact(shown)
        assert out.count(b"[redacted:KEY]") == 1


@pytest.mark.parametrize(
    "command",
    [
        'printf %s "$S"',
        'printf %q "$S"',
        'printf "%s" "${S@Q}"',
        'printf "%s" "${S@E}"',
        "declare -p S",
        "export -p | grep -a -A99 ' S='",
        'set -x; : "$S"',
        'printf %s "$S" | base64',
        'echo "$S" | base64 -w0',
        'printf "u:%s" "$S" | base64 -w 0',
        'printf %s "$S" | od -An -v -tx1 | tr -d " \\n"',
        "env | grep -a -A99 '^S='",
    ],
)
@pytest.mark.parametrize("locale", ["C.UTF-8", "C"])
@pytest.mark.parametrize("value", [v.strip() for v in VALUES])
def test_what_a_shell_prints(command: str, locale: str, value: bytes) -> None:
    done = subprocess.run(
        ["bash", "-c", command],
        env={b"PATH": b"/usr/bin:/bin", b"LC_ALL": locale.encode(), b"S": value},
        capture_output=True,
        check=False,
    )
    shown = done.stdout + done.stderr
    if "@E" in command and b"\\" in value:
        return  # expanding the value's own escapes makes another text of it
    _hidden(value, shown)


@settings(max_examples=tries(20, 60), deadline=None)
@given(
    st.text(
        st.characters(exclude_characters="\0", exclude_categories=["C", "Zl", "Zp"]), min_size=6
    )
)
def test_printf_q_of_any_text(text: str) -> None:
    value = text.encode().strip()
    if len(value) < MIN_ENCODED:
        return
    done = subprocess.run(
        ["bash", "-c", 'printf "%q\\n%s" "$S" "${S@Q}"'],
        env={b"PATH": b"/usr/bin:/bin", b"LC_ALL": b"C.UTF-8", b"S": value},
        capture_output=True,
        check=True,
    )
    quoted, _, _ = done.stdout.rpartition(b"\n")
    _hidden(value, quoted)


@pytest.mark.parametrize("value", [b"a", b"abcd", b"1"])
def test_a_short_value_is_hidden_as_it_is(value: bytes) -> None:
    assert forms(value) == {value}
    assert Secrets({"S": value}).redact(b"x" + value + b"y") == b"x[redacted:S]y"


@pytest.mark.parametrize("size", range(MIN_ENCODED, 30))
def test_every_alignment_of_base64(size: int) -> None:
    value = bytes(range(65, 65 + size))
    for before in range(5):
        shown = base64.b64encode(b"?" * before + value + b"!")
        out = Secrets({"S": value}).redact(shown)
        left = len(out.replace(b"[redacted:S]", b"").rstrip(b"="))
        # Only the neighbours' characters, and those that the secret shares with them, are left.
        assert left <= (before * 8 + 5) // 6 + 3
