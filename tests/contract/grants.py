"""What every giver of grants keeps to. Subclass ``GrantsContract`` and give the fixture ``vault_case``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from dispatcher.model.run import Grant, RunKey, WrappedGrant
from dispatcher.vault import GrantGone

KEY = RunKey(action_id="deploy", blob="b" * 40)


@dataclass(frozen=True, kw_only=True)
class VaultCase:
    """A vault as both sides see it.

    Attributes:
        grants: the dispatcher's: ``mint``, ``extend``, ``withdraw`` and ``revoke``.
        unwrap: the runner's: what is inside a wrapping, or None if it is used up or gone.
        lives: whether a grant's token is still good.
    """

    grants: Any
    unwrap: Callable[[WrappedGrant], str | None]
    lives: Callable[[Grant], bool]

    def mint(self) -> WrappedGrant:
        wrapped: WrappedGrant = self.grants.mint(KEY, [], lifetime_s=60)
        return wrapped


class GrantsContract:
    """Subclass in a module whose name begins with ``test_``."""

    @pytest.fixture
    def vault_case(self) -> VaultCase:
        raise NotImplementedError

    def test_each_grant_lives_and_is_another(self, vault_case: VaultCase) -> None:
        first, second = vault_case.mint(), vault_case.mint()
        for of in (lambda w: w.token, lambda w: w.grant.accessor, lambda w: w.grant):
            assert of(first) != of(second)
        assert vault_case.lives(first.grant)
        assert vault_case.lives(second.grant)

    def test_it_is_unwrapped_once(self, vault_case: VaultCase) -> None:
        wrapped = vault_case.mint()
        assert vault_case.unwrap(wrapped)
        assert vault_case.unwrap(wrapped) is None
        assert vault_case.lives(wrapped.grant)

    def test_it_can_be_extended_while_it_lives(self, vault_case: VaultCase) -> None:
        grant = vault_case.mint().grant
        vault_case.grants.extend(grant, lifetime_s=60)
        vault_case.grants.extend(grant, lifetime_s=60)
        assert vault_case.lives(grant)
        vault_case.grants.revoke(grant)
        with pytest.raises(GrantGone):
            vault_case.grants.extend(grant, lifetime_s=60)

    def test_one_that_was_not_used_is_withdrawn_for_good(self, vault_case: VaultCase) -> None:
        wrapped = vault_case.mint()
        assert vault_case.grants.withdraw(wrapped.grant) is True
        assert not vault_case.lives(wrapped.grant)
        assert vault_case.grants.withdraw(wrapped.grant) is True, "asked again, it is the same"
        assert vault_case.unwrap(wrapped), "what comes out was dead before"
        assert not vault_case.lives(wrapped.grant)
        assert vault_case.grants.withdraw(wrapped.grant) is False

    def test_one_that_was_used_may_have_started_a_formula(self, vault_case: VaultCase) -> None:
        wrapped = vault_case.mint()
        assert vault_case.unwrap(wrapped)
        assert vault_case.grants.withdraw(wrapped.grant) is False
        assert not vault_case.lives(wrapped.grant)

    def test_revoking_ends_grant_and_wrapping(self, vault_case: VaultCase) -> None:
        wrapped, other = vault_case.mint(), vault_case.mint()
        for _ in range(2):
            vault_case.grants.revoke(wrapped.grant)
            assert not vault_case.lives(wrapped.grant)
            assert vault_case.unwrap(wrapped) is None
        assert vault_case.grants.withdraw(wrapped.grant) is False, "nobody can tell any more"
        assert vault_case.lives(other.grant)
