"""Guacamole's JSON authentication: the format, byte by byte, and the addresses that open a connection."""

from __future__ import annotations

import base64
import json
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.desktop.credentials import VARIABLE, Credentials
from dispatcher.desktop.guacamole import document, seal, stream_url, unseal, vnc
from dispatcher.errors import InvalidValue

KEY = bytes.fromhex("4C0B569E4C96DF157EEE1B65DD0E4D41")
PLAIN = (
    b'{"username":"u1","expires":1893456000000,"connections":{"d1":{"protocol":"vnc",'
    b'"parameters":{"hostname":"10.0.0.5","port":"5901"}}}}'
)
SEALED = (
    "8Nb3ADCrWr71OnZ0JOnVjwJd4MvtCn1ScpQEm1+P88X5kxBAQ2V/l6zqG+4D1ii0DPIO6LlxVAxVGmHO0ellKyboBPgs"
    "Ou0LMLtDeGY8NkXUAL5GPrVrR4JHCA0PWVKY6CelPNRPYV2Ocm5GveZxoiBoJTTig3ABDwRkbBQD6ISMb++blC1hct4p"
    "xoWzZbg64Vv1u8NcHOMq65+Rzs7Coee/N/++BjUzqt2zcNuiPC4="
)
"""A real Guacamole 1.6.0 accepts this one."""

VALUES = ("p8R1evPd", "b2da4fbf979f4ce8fcaa0f4e8d23eb46")
HMAC = f"vault:v2:{base64.b64encode(bytes(range(32))).decode()}"


def test_the_document_that_guacamole_accepts() -> None:
    assert seal(PLAIN, KEY) == SEALED
    assert unseal(SEALED, KEY) == PLAIN


def test_a_document_has_the_keys_that_guacamole_knows_and_no_other() -> None:
    made = json.loads(document("ann", {"desktop": vnc("s3cret")}, expires_s=1893456000.25))
    assert made == {
        "username": "ann",
        "expires": 1893456000250,
        "singleUse": True,
        "connections": {
            "desktop": {
                "protocol": "vnc",
                "parameters": {"hostname": "127.0.0.1", "port": "5901", "password": "s3cret"},
            }
        },
    }


def test_nobody_is_logged_in_without_a_name() -> None:
    with pytest.raises(ValueError, match="anonymous"):
        document("", {}, expires_s=1.0)


@given(st.binary(max_size=300), st.binary(min_size=16, max_size=16))
def test_what_was_sealed_is_read_with_the_same_key(plain: bytes, key: bytes) -> None:
    assert unseal(seal(plain, key), key) == plain


@given(st.integers(0, len(SEALED) * 6 // 8 - 2), st.integers(1, 255))
def test_a_changed_byte_is_noticed(at: int, by: int) -> None:
    data = bytearray(base64.b64decode(SEALED))
    data[at] ^= by
    with pytest.raises(ValueError, match=r"signature|padding|block"):
        unseal(base64.b64encode(data).decode(), KEY)


def test_another_key_reads_nothing() -> None:
    with pytest.raises(ValueError, match=r"signature|padding"):
        unseal(SEALED, bytes(16))


def test_the_token_is_in_the_fragment_and_nowhere_else() -> None:
    url = stream_url("https://198.51.100.7/guacamole/", "A+B/=")
    parts = urlsplit(url)
    assert parts.path == "/guacamole/"
    assert not parts.query
    path, _, query = parts.fragment.partition("?")
    assert query == "token=A%2BB%2F%3D"
    name = path.removeprefix("/client/")
    assert base64.urlsafe_b64decode(name + "=" * (-len(name) % 4)) == b"desktop\0c\0json"


def test_credentials_are_derived_and_differ_by_purpose() -> None:
    made = Credentials.from_hmac(HMAC)
    assert made == Credentials.from_hmac(HMAC)
    assert made.key_version == 2
    assert len(made.vnc_password) == 8
    assert len(made.guacamole_key) == 16
    assert made.vnc_password not in repr(made)
    assert str(made.guacamole_key) not in repr(made)
    other = Credentials.from_hmac(HMAC.replace("AAEC", "AAED"))
    assert other.vnc_password != made.vnc_password
    assert other.guacamole_key != made.guacamole_key


def test_derived_values_never_change() -> None:
    """A release that derived others could not open any desktop of the one before."""
    made = Credentials.from_hmac(HMAC)
    assert (made.vnc_password, made.guacamole_key.hex()) == VALUES


@pytest.mark.parametrize("answer", ["", "vault:v1:", HMAC[:-1], HMAC + "x", "s.token"])
def test_what_vault_did_not_answer_is_refused_without_its_text(answer: str) -> None:
    with pytest.raises(InvalidValue, match=VARIABLE) as wrong:
        Credentials.from_hmac(answer)
    assert not answer or answer not in str(wrong.value)
