"""What a runner says when its formula has ended, and how long it takes at most."""

from __future__ import annotations

import json
import socket

import pytest

from dispatcher.model.payload import (
    END_NOTICE_BYTES,
    check_authentic,
    decode_end_notice,
    encode_outcome,
)
from dispatcher.model.run import Outcome
from dispatcher.model.verdicts import Verdict
from dispatcher.runner import end_notice
from dispatcher.runner.end_notice import send_end_notice
from tests.servers.end_notices import IN_A_JOB, Heard, heard

__all__ = ["heard"]

OUTCOME = encode_outcome(Outcome(verdict=Verdict.FAILED, exit_code=3, logs="ü\udc80"), key="k")


def test_it_names_job_and_allocation_and_proves_itself(heard: Heard) -> None:
    send_end_notice(f"{heard.url}/below/", outcome=OUTCOME, key="k", clean=True, environ=IN_A_JOB)
    ((path, notice),) = heard.requests
    assert path == "/below/runs/ended"
    assert decode_end_notice(notice) == ("disinto-runner/dispatch-1", "a1", OUTCOME, True)
    check_authentic(notice, "k")
    assert set(json.loads(notice)) == {"mac", "job", "alloc", "clean", "outcome"}


def test_an_outcome_that_is_too_long_is_left_out(heard: Heard) -> None:
    send_end_notice(
        heard.url, outcome=b"x" * END_NOTICE_BYTES, key="k", clean=True, environ=IN_A_JOB
    )
    ((_, notice),) = heard.requests
    assert decode_end_notice(notice) == ("disinto-runner/dispatch-1", "a1", b"", True)
    check_authentic(notice, "k")


def test_it_may_leave_the_outcome_out(heard: Heard) -> None:
    send_end_notice(heard.url, outcome=b"", key="k", clean=True, environ=IN_A_JOB)
    ((_, notice),) = heard.requests
    assert set(json.loads(notice)) == {"mac", "job", "alloc", "clean"}


def test_nothing_is_sent_where_nobody_could_know_it(heard: Heard) -> None:
    send_end_notice("", outcome=OUTCOME, key="k", clean=True, environ=IN_A_JOB)
    send_end_notice(heard.url, outcome=OUTCOME, key="", clean=True, environ=IN_A_JOB)
    send_end_notice(heard.url, outcome=OUTCOME, key="k", clean=True, environ={})
    assert heard.requests == []


@pytest.mark.parametrize("address", ["http://127.0.0.1:1", "no address", "http://[", "ftp://x"])
def test_a_listener_that_cannot_be_reached_costs_nothing(address: str) -> None:
    send_end_notice(address, outcome=OUTCOME, key="k", clean=True, environ=IN_A_JOB)


def test_a_listener_that_does_not_answer_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(end_notice, "WITHIN_S", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        send_end_notice(
            f"http://127.0.0.1:{port}", outcome=OUTCOME, key="k", clean=True, environ=IN_A_JOB
        )
