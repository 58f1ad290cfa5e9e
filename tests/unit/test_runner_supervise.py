"""What the supervision of a formula does with the processes that its first one leaves."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

from dispatcher.runner import supervise
from dispatcher.runner.supervise import Signals, Supervision

PID = 4711


@pytest.fixture
def signals() -> Iterator[Signals]:
    numbers = (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT)
    before = {number: signal.getsignal(number) for number in numbers}
    yield (made := Signals())
    signal.set_wakeup_fd(-1)
    for number, handler in before.items():
        signal.signal(number, handler)
    for fd in (made.wake, made._tell):
        os.close(fd)


@pytest.mark.parametrize("sandbox", ["bwrap", ""])
@pytest.mark.parametrize("stays", [True, False])
def test_only_what_a_sandbox_does_not_take_with_it_is_searched_for(
    signals: Signals, monkeypatch: pytest.MonkeyPatch, *, sandbox: str, stays: bool
) -> None:
    """To search for processes takes longer than a sandbox to end."""
    monkeypatch.setattr(supervise, "_SANDBOX_S", 0.05 if stays else 60.0)
    sent: list[int] = []
    reaped = iter([({PID: 0}, True)])

    def reap() -> tuple[dict[int, int], bool]:
        if first := next(reaped, None):
            os.write(signals._tell, b"\0")  # the end of another process, a moment later
            return first
        return {}, stays and not sent

    monkeypatch.setattr(supervise, "reap", reap)
    monkeypatch.setattr(
        supervise, "signal_descendants", lambda number, **_more: sent.append(number)
    )
    end = Supervision(PID, [], signals, timeout_s=60, grace_s=60, spare=sandbox).run()
    assert end.status == 0
    assert not end.survivors
    assert sent == ([] if sandbox and not stays else [signal.SIGTERM])
