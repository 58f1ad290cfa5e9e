"""The cache of gates' answers: concurrent identical questions become one, and unchanged actions
stop being asked about.

The gate is queried once more before each run starts (``dispatcher.loop.effects.judging``). So when
its run starts, an approval is at most two seconds old: ``KEPT_S`` here, and a forge's answer about
a request is reused for its other files for ``dispatcher.gate.forgejo.FRESH_S``.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

from dispatcher.gate.base import Answer, Decision, Gate, Question
from dispatcher.model.approval_need import Need

KEPT_S = 1.0
"""Seconds for which an answer is reused: only as long as a round of many questions takes, because
an approval may have been withdrawn."""

MAX_CHECKS_PER_HEAD = 24
"""How often an unapproved file is checked at one head. After that only another head or
``invalidate`` (a webhook) triggers a check, so that waiting actions cost nothing. How far apart the
checks are is for ``dispatcher.loop.answers.ASK_AGAIN_S``."""

REMEMBERED = 20_000

_Key = tuple[str, str, str, Need]


@dataclass
class _Kept:
    lock: threading.Lock = field(default_factory=threading.Lock)
    decision: Decision | None = None
    asked_in: int = 0
    at: float = 0.0
    asks: int = 0


class CachingGate:
    """Caches the answers of another gate. Thread-safe.

    Args:
        gate: the gate whose answers are cached.
        clock: monotonic seconds.
    """

    def __init__(self, gate: Gate, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._gate = gate
        self._clock = clock
        self._lock = threading.Lock()
        self._kept: OrderedDict[_Key, _Kept] = OrderedDict()
        self._round = 0

    def invalidate(self, *, keep_approvals: bool = False) -> None:
        """Something may have changed: the next question about any file is passed on, or about any that
        was not approved.
        """
        with self._lock:
            self._round += 1
            if not keep_approvals:
                self._kept.clear()
        self._gate.invalidate(keep_approvals=keep_approvals)

    def check(self, question: Question) -> Decision:
        kept = self._of((question.path, question.blob, question.commit, question.need))
        with kept.lock:  # a concurrent identical question waits for the first one's answer
            if kept.decision is not None and self._still(kept, kept.decision):
                return kept.decision
            asked_in = self._round
            decision = self._gate.check(question)
            kept.decision, kept.at, kept.asks = decision, self._clock(), kept.asks + 1
            kept.asked_in = asked_in
            return decision

    def _still(self, kept: _Kept, decision: Decision) -> bool:
        if decision.final:
            return True
        if decision.answer is not Answer.APPROVED:
            if kept.asked_in != self._round:  # even if it was on its way when that was called
                return False
            if kept.asks >= MAX_CHECKS_PER_HEAD:
                return True
        return self._clock() - kept.at < KEPT_S

    def _of(self, key: _Key) -> _Kept:
        with self._lock:
            kept = self._kept.setdefault(key, _Kept())
            self._kept.move_to_end(key)
            if len(self._kept) > REMEMBERED:
                self._kept.popitem(last=False)
            return kept
