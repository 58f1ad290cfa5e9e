"""The grants of a real OpenBao keep the contract that the vault in memory keeps."""

from __future__ import annotations

from collections.abc import Iterator

import hvac.exceptions
import pytest

from dispatcher.model.run import WrappedGrant
from tests.contract.grants import GrantsContract, VaultCase
from tests.servers.bao import Bao
from tests.support.vault_stage import stage

pytestmark = pytest.mark.needs("bao")


class TestGrants(GrantsContract):
    @pytest.fixture
    def vault_case(self, vault: Bao) -> Iterator[VaultCase]:
        with stage(vault) as staged:

            def unwrap(wrapped: WrappedGrant) -> str | None:
                try:
                    return staged.unwrap(wrapped)
                except (hvac.exceptions.InvalidRequest, hvac.exceptions.Forbidden):
                    return None

            yield VaultCase(
                grants=staged.grants(),
                unwrap=unwrap,
                lives=lambda grant: staged.knows(grant.accessor),
            )
