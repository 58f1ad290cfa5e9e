"""The trial run of ``disinto doctor --deep``, from minting the grant to revoking it.

It takes the same steps as every run, with the real Vault and the real engine: mint, extend, submit,
observe, revoke, forget. It has no action, claim, secret or result; its id begins with ``doctor-``.
"""

from __future__ import annotations

import hashlib
import secrets
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import suppress

from dispatcher.engines import registry
from dispatcher.engines.base import Scheduler
from dispatcher.errors import DisintoError
from dispatcher.loop.without_runner import last_stderr
from dispatcher.model.checks import Check
from dispatcher.model.run import (
    Claim,
    FormulaKind,
    FormulaRef,
    Observation,
    Phase,
    RunKey,
    RunSpec,
    RunState,
    Tier,
    WrappedGrant,
)
from dispatcher.settings import Settings
from dispatcher.vault import Grants

PREFIX = "doctor-"
FORMULA = b"exit 0\n"

RUN_S = 120.0
"""Seconds the run may take, an image that has to be fetched included."""

END_S = 20.0
"""Seconds it gets to end after its cancellation."""

LOOK_EVERY_S = 0.2


class Trial:
    """One trial run.

    Args:
        settings: of the dispatcher.
        grants: mints and revokes its grant.
        scheduler: runs it; must purge forgotten runs.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        settings: Settings,
        grants: Grants,
        scheduler: Scheduler,
        *,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings, self._grants, self._scheduler = settings, grants, scheduler
        self._sleep, self._clock = sleep, clock
        self._spec = _spec(settings)
        self._wrapped: WrappedGrant | None = None
        self._submitted = False
        self._claim = Claim(
            key=self._spec.key,
            phase=Phase.SUBMITTED,
            commit=self._spec.commit,
            formula=self._spec.formula,
            tier=self._spec.tier,
            timeout_s=self._spec.timeout_s,
            outcome_key=self._spec.outcome_key,
        )

    def checks(self) -> Generator[Check, None, None]:
        """Run all steps; stops at the first that fails. In any case, also after an interrupt, the run
        is stopped and forgotten, and its grant revoked.
        """
        try:
            yield from self._steps()
        finally:
            trouble = self._clean_up()
        action_id = self._spec.key.action_id
        yield Check(
            name="deep: clean-up",
            ok=not trouble,
            detail="; ".join(trouble) or f"nothing of {action_id} is left behind",
            remedy=f"Look for {action_id} in the engine; its grant expires on its own."
            if trouble
            else "",
        )

    def _steps(self) -> Iterator[Check]:
        for name, step in (
            ("deep: grant", self._mint),
            ("deep: submit", self._submit),
            ("deep: run", self._run),
        ):
            try:
                check = step(name)
            except DisintoError as error:
                check = Check(name=name, ok=False, detail=error.what, remedy=error.remedy or "")
            yield check
            if not check.ok:
                return

    def _mint(self, name: str) -> Check:
        lifetime_s = round(RUN_S + END_S) + self._spec.timeout_s
        self._wrapped = self._grants.mint(self._spec.key, (), lifetime_s=lifetime_s)
        self._grants.extend(self._wrapped.grant, lifetime_s=lifetime_s)
        return Check(name=name, ok=True, detail=f"minted for {self._spec.key.action_id}, wrapped")

    def _submit(self, name: str) -> Check:
        if self._wrapped is None:
            raise ValueError("no grant was minted")
        self._submitted = True  # also if the answer is lost
        engine_id = self._scheduler.submit(self._spec, self._wrapped)
        return Check(name=name, ok=True, detail=f"submitted as {engine_id}")

    def _run(self, name: str) -> Check:
        began = self._clock()
        observation = self._await_end(RUN_S)
        if observation is None or observation.outcome is None:
            state = (
                f"{observation.state}: {observation.reason}"
                if observation
                else "the engine has no such run"
            )
            return Check(
                name=name,
                ok=False,
                detail=f"not ended after {RUN_S:g} s: {state.rstrip(': ')}",
                remedy="Check the engine: placement, the image, the runner's log.",
            )
        if not observation.outcome.verdict.success:
            reason = (
                observation.outcome.error
                or observation.outcome.logs
                or f"exit code {observation.outcome.exit_code}"
            )
            stderr = _stderr(self._scheduler, self._claim) if not observation.reported else ""
            return Check(
                name=name,
                ok=False,
                detail=f"{observation.outcome.verdict}: {reason}"
                + (f": {stderr}" if stderr else ""),
                remedy="Every run would end like this; fix what it reports.",
            )
        took = self._clock() - began
        where = f" on {observation.engine.node}" if observation.engine.node else ""
        return Check(name=name, ok=True, detail=f"succeeded after {took:.1f} s{where}")

    def _await_end(self, seconds: float) -> Observation | None:
        """The run once it has ended, or its state after ``seconds``; None if the engine lacks it."""
        deadline = self._clock() + seconds
        while True:
            observation = self._scheduler.observe([self._claim]).get(self._claim.key)
            if (
                observation is not None and observation.state is RunState.ENDED
            ) or self._clock() >= deadline:
                return observation
            self._sleep(LOOK_EVERY_S)

    def _clean_up(self) -> list[str]:
        """Remove the run and its grant; returns what could not be removed."""
        trouble = []
        if self._submitted:
            try:
                self._stop()
            except DisintoError as error:
                trouble.append(error.what)
        if self._wrapped is not None:
            try:
                self._grants.revoke(self._wrapped.grant)
            except DisintoError as error:
                trouble.append(error.what)
        return trouble

    def _stop(self) -> None:
        observation = self._scheduler.observe([self._claim]).get(self._claim.key)
        if observation is not None and observation.state is not RunState.ENDED:
            self._scheduler.cancel(self._claim, reason="the trial run of 'disinto doctor' is over")
            self._await_end(END_S)
        self._scheduler.forget(self._claim)


def _stderr(scheduler: Scheduler, claim: Claim) -> str:
    with suppress(DisintoError):
        return last_stderr(scheduler, claim)
    return ""


def _spec(settings: Settings) -> RunSpec:
    blob = hashlib.sha1(b"blob %d\0%b" % (len(FORMULA), FORMULA), usedforsecurity=False).hexdigest()
    vault = settings.vault
    return RunSpec(
        key=RunKey(action_id=f"{PREFIX}{secrets.token_hex(6)}", blob=blob),
        commit="0" * 40,
        tier=Tier.LOW,
        formula=FormulaRef(
            name="doctor",
            kind=FormulaKind.SHELL,
            blob=blob,
            sha256=hashlib.sha256(FORMULA).hexdigest(),
        ),
        formula_text=FORMULA,
        timeout_s=60,
        kill_grace_s=registry.get(settings.scheduler).kill_grace_s(settings),
        vault_addr=vault.runner_addr or vault.addr,
        vault_namespace=vault.namespace,
        kv_mount=vault.kv_mount,
        kv_prefix=vault.kv_prefix,
        outcome_key=secrets.token_urlsafe(16),
    )
