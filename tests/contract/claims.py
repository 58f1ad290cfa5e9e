"""Claims for tests: one plain, and a strategy that reaches every field."""

from __future__ import annotations

import string
from dataclasses import replace

from hypothesis import strategies as st

from dispatcher.model.run import Claim, FormulaKind, FormulaRef, Grant, Phase, RunKey, Tier

_texts = st.text(max_size=40)
_hex = st.text(alphabet="0123456789abcdef", min_size=40, max_size=40)
_ids = st.text(
    alphabet=string.ascii_lowercase + string.digits + "_-", min_size=1, max_size=100
).filter(lambda id_: id_[0] not in "_-")
_times = st.floats(min_value=0, max_value=4e9, allow_nan=False)
_formulas = st.builds(
    FormulaRef,
    name=_ids,
    kind=st.sampled_from(FormulaKind),
    blob=_hex,
    sha256=_texts,
    commit=_hex | st.just(""),
)
_grants = st.builds(
    Grant,
    wrapping_accessor=_texts,
    accessor=_texts,
    policies=st.lists(_texts, max_size=4).map(tuple),
)


def claims() -> st.SearchStrategy[Claim]:
    """Any claim, not yet written."""
    return st.builds(
        Claim,
        key=st.builds(RunKey, action_id=_ids, blob=_hex),
        phase=st.sampled_from(Phase),
        commit=_hex,
        formula=st.none() | _formulas,
        tier=st.none() | st.sampled_from(Tier),
        approved_by=st.lists(_texts, max_size=3).map(tuple),
        priority=st.integers(min_value=-100, max_value=100),
        timeout_s=st.integers(min_value=1, max_value=10**7),
        grant=st.none() | _grants,
        revoked=st.booleans(),
        stopped=st.booleans(),
        engine_id=_texts,
        claimed_at=_times,
        submitted_at=_times,
        result=st.text(max_size=1000),
        outcome_key=_texts,
    )


def claim(action_id: str = "a", *, blob: str = "b" * 40) -> Claim:
    """A claim as the service writes it before it submits a run."""
    return Claim(
        key=RunKey(action_id=action_id, blob=blob),
        phase=Phase.CLAIMED,
        commit="c" * 40,
        formula=FormulaRef(name="hello", kind=FormulaKind.SHELL, blob="d" * 40, sha256="e" * 64),
        tier=Tier.LOW,
        approved_by=("main",),
        grant=Grant(wrapping_accessor="w-1", accessor="a-1", policies=("runner-token",)),
        claimed_at=1_760_000_000.25,
    )


def submitted(of: Claim) -> Claim:
    """The same claim one step on."""
    return replace(of, phase=Phase.SUBMITTED, engine_id="runner/dispatch-1", submitted_at=1.76e9)
