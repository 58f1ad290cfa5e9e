"""Results signed by a key that never leaves a real OpenBao, checked offline."""

from __future__ import annotations

from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from dispatcher.attestation import key_id, seal_with, transit_signer, verify_result
from dispatcher.model.result import Result
from dispatcher.model.verdicts import Verdict
from dispatcher.settings import AttestationSettings
from tests.servers.bao import Bao
from tests.support.vault_stage import stage

pytestmark = pytest.mark.needs("bao")


def test_a_transit_key_signs_results_before_and_after_its_rotation(vault: Bao) -> None:
    with stage(vault) as made:
        attestation = AttestationSettings(transit_key="disinto-results")
        staged = replace(
            made, settings=made.settings.model_copy(update={"attestation": attestation})
        )
        staged.apply()
        signing = staged.transit()
        text = Result(
            id="a", exit_code=3, timestamp="2024-02-29T00:00:00Z", verdict=Verdict.FAILED
        ).to_json()
        first = seal_with(transit_signer(signing), text).encode()
        transit = staged.settings.vault.transit_mount
        vault.client().write(f"{transit}/keys/disinto-results/rotate")
        second = seal_with(transit_signer(signing), text).encode()
        raw = signing.transit_public_keys()
    keys = [Ed25519PublicKey.from_public_bytes(key) for key in raw.values()]
    seen = {
        verify_result(data, action_id="a", action=None, public_keys=keys).keyid
        for data in (first, second)
    }
    assert seen == {key_id(key) for key in keys}
    assert len(seen) == 2
