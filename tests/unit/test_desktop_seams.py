"""Certificate and report of a desktop: what the parts of the provisioner hand to each other."""

from __future__ import annotations

import hashlib
import json
import ssl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.desktop.certificate import make_certificate
from dispatcher.desktop.report import LINE_LENGTH, STAGES, TAIL_LINES, Report, parse_report


def test_a_fingerprint_is_that_of_the_certificate_as_it_is_sent() -> None:
    certificate = make_certificate("d" * 100, now=1.7e9)
    sent = ssl.PEM_cert_to_DER_cert(certificate.pem)
    assert certificate.fingerprint == hashlib.sha256(sent).hexdigest()
    assert certificate.key_pem not in repr(certificate)


def test_a_report_is_read() -> None:
    report = {
        "stage": "starting-guacamole",
        "vnc": True,
        "guacamole": 1,
        "log_tail": ["a", "b\x1b[2J"],
    }
    assert parse_report(json.dumps(report).encode()) == Report(
        stage="starting-guacamole", vnc=True, log_tail=("a", "b [2J")
    )


@pytest.mark.parametrize(
    "data", [b"", b"[]", b"[" * 5000, b"\xff", b'{"a":' + b"1" * 70_000 + b"}"]
)
def test_what_is_no_report(data: bytes) -> None:
    assert parse_report(data) is None


@given(st.dictionaries(st.sampled_from(["stage", "vnc", "log_tail", "apps_failed"]), st.recursive(
    st.none() | st.text() | st.floats() | st.booleans(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
)))  # fmt: skip
def test_any_report_is_bounded_and_printable(value: dict[str, object]) -> None:
    report = parse_report(json.dumps(value).encode())
    assert report is not None
    assert report.stage in ("", *STAGES)
    texts = [*report.log_tail, *report.apps_failed]
    assert max(len(report.log_tail), len(report.apps_failed)) <= TAIL_LINES
    assert all(len(text) <= LINE_LENGTH and (text.isprintable() or not text) for text in texts)
