"""What others must not make us repeat: which texts are withheld, and which are not."""

from __future__ import annotations

import base64
import codecs
import re
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.desktop.credentials import Credentials
from dispatcher.desktop.machine import user_data
from dispatcher.provision.confidential import TEXT_LIMIT, WITHHELD, Confidential, printable
from tests.support.machines import machine

PASSWORD = b"Ab3-Ef9h"
KEY = bytes(range(0x61, 0x71))
SPELLINGS: dict[str, Callable[[bytes], str]] = {
    "as it is": lambda v: v.decode(),
    "over two lines": lambda v: f"{v[:4].decode()}\n{v[4:].decode()}",
    "set apart": lambda v: " ".join(v.decode()),
    "with punctuation": lambda v: ".,".join(v.decode()),
    "in another case": lambda v: v.decode().swapcase(),
    "backwards": lambda v: v.decode()[::-1],
    "ROT13": lambda v: codecs.encode(v.decode(), "rot13"),
    "in full width": lambda v: "".join(chr(0xFEE0 + byte) for byte in v),
    "with invisible characters": lambda v: "\u200b\u0301".join(v.decode()),
    "hex": lambda v: v.hex(),
    "hex with colons": lambda v: v.hex(":").upper(),
    "hex backwards": lambda v: v.hex()[::-1],
    "hex of it backwards": lambda v: v[::-1].hex(),
    "0x": lambda v: ", ".join(map(hex, v)),
    "escapes": lambda v: "".join(f"\\x{byte:02x}" for byte in v),
    "a URL": lambda v: "".join(f"%{byte:02X}" for byte in v),
    "HTML": lambda v: "".join(f"&#{byte};" for byte in v),
    "JSON": lambda v: "".join(f"\\u{byte:04x}" for byte in v),
    "decimal": lambda v: str(list(v)),
    "decimal with zeros": lambda v: " ".join(f"{byte:03}" for byte in v),
    "octal": lambda v: " ".join(f"{byte:o}" for byte in v),
    "U+": lambda v: " ".join(f"U+{byte:04X}" for byte in v),
    "0o": lambda v: ", ".join(map(oct, v)),
    "0b": lambda v: " ".join(map(bin, v)),
    "binary": lambda v: " ".join(f"{byte:08b}" for byte in v),
    "one number": lambda v: str(int.from_bytes(v)),
    "base64": lambda v: base64.b64encode(v).decode(),
    "base64 within more": lambda v: base64.b64encode(b"x" + v + b"y").decode(),
    "base64 of it backwards": lambda v: base64.b64encode(v[::-1]).decode(),
    "base64 twice": lambda v: base64.b64encode(base64.b64encode(v)).decode(),
    "base85": lambda v: base64.b85encode(v).decode(),
    "base32": lambda v: base64.b32encode(v).decode(),
}


@pytest.mark.parametrize("value", [PASSWORD, KEY])
@pytest.mark.parametrize("spelling", SPELLINGS)
def test_a_credential_is_found_however_it_is_written(value: bytes, spelling: str) -> None:
    confidential = Confidential([PASSWORD, KEY])
    text = f"vncpasswd: {SPELLINGS[spelling](value)} (1)"
    assert confidential.shown(text) == WITHHELD
    assert confidential.is_in("E: broken\n" * 20 + text)


@given(st.binary(min_size=8, max_size=8), st.sampled_from(sorted(set(SPELLINGS) - {"as it is"})))
def test_any_eight_bytes_can_be_looked_for(value: bytes, spelling: str) -> None:
    Confidential([value]).is_in(value.hex() + spelling)


def test_a_password_without_letters_is_found_and_little_else() -> None:
    confidential = Confidential([b"-_+=.-_a"])
    assert confidential.is_in("set -_ +=.\n-_a")
    assert not confidential.is_in("set -_+=.-_b")
    assert not confidential.is_in("")


SENT = user_data(machine())


def test_a_quotation_of_what_was_sent_is_withheld() -> None:
    contents = re.findall("[A-Za-z0-9+/=]{80,}", SENT)
    assert len(contents) > 20
    for content in contents:
        check_a_quotation(content[30:54])


def check_a_quotation(piece: str) -> None:
    confidential = Confidential()
    text = f"could not store user_data near: {piece}"
    assert confidential.shown(text) != WITHHELD
    confidential.add_sent(SENT)
    assert confidential.shown(text) == WITHHELD
    assert confidential.shown(text[::-1]) == WITHHELD
    assert confidential.shown(f"near {base64.b64encode(piece.encode()).decode()}") == WITHHELD
    assert confidential.shown(f"near {piece.encode().hex(' ')}") == WITHHELD


@pytest.mark.parametrize(
    "words",
    [
        "Region is not available", "Size is not available in this region.", "Unexpected server-side error",
        "You specified an invalid image for Droplet creation.", "API Rate limit exceeded.",
        "creating this/these droplet(s) will exceed your droplet limit", "Unable to authenticate you.",
        "The resource you were accessing could not be found.", "You are not authorized to perform this operation",
        "Only valid hostname characters are allowed. (a-z, A-Z, 0-9, . and -)", "Droplet already has a pending event.",
        "These SSH keys were not found: 12", "Input validation failed", "User data is too long (maximum is 64 KiB)",
    ],
)  # fmt: skip
def test_ordinary_words_are_shown(words: str) -> None:
    made = machine().credentials
    confidential = Confidential(made.values())
    confidential.add_sent(SENT)
    assert confidential.shown(words) == words


@given(st.text())
def test_what_is_shown_is_one_short_printable_line(text: str) -> None:
    for shown in (printable(text), Confidential().shown(text)):
        assert len(shown) <= TEXT_LIMIT
        assert not shown or shown.isprintable()


def test_credentials_of_a_desktop_are_its_values() -> None:
    made = Credentials(vnc_password="Ab3-Ef9h", guacamole_key=KEY, key_version=1)
    assert made.values() == (PASSWORD, KEY)
