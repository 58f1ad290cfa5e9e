"""Signs results and written actions, and verifies which are ours, with the key that the settings name."""

from __future__ import annotations

import hashlib
from functools import cache
from typing import TYPE_CHECKING

from dispatcher.loop.components import NothingWritten
from dispatcher.loop.outgoing import Entry, Sign, SignAction
from dispatcher.loop.verifying import Unsigned, Verifier
from dispatcher.settings.repository import repository_name

if TYPE_CHECKING:
    from collections.abc import Callable

    from dispatcher.attestation import Signer
    from dispatcher.gate.sourced import Written
    from dispatcher.settings import Settings
    from dispatcher.vault import Vault

LOCAL_KEY = "attestation.key"
"""Name of the file in the state directory with the private key, if no transit key is configured."""


IDS_PAYLOAD_TYPE = "application/vnd.disinto.id-secret"
"""DSSE's payload type of what is signed for ``id_secret``; nothing else is."""


def result_signer(settings: Settings, vault: Vault) -> Sign:
    """Signs results as the settings say; if signatures are off, the text stays as it is."""
    if not settings.attestation.enabled:
        return lambda entry: entry.text
    from dispatcher.attestation import seal_with

    signer = _signer(settings, vault)

    def sign(entry: Entry) -> str:
        return seal_with(signer, entry.text, policies=entry.policies)

    return sign


def action_signer(settings: Settings, vault: Vault) -> SignAction | None:
    """Signs the actions that the dispatcher writes; None if signatures are off."""
    if not settings.attestation.enabled:
        return None
    from dispatcher.attestation import sign_action

    signer, place = _signer(settings, vault), _place(settings)
    return lambda text: sign_action(signer, text, place=place)


def id_secret(settings: Settings, vault: Vault) -> Callable[[], bytes]:
    """A secret from which ids of actions are made that nobody can know before they are written. It
    comes from the signing key, because ed25519 signs the same text always the same way: it needs no place
    of its own and survives whatever the key survives. The signature itself is shown nowhere.

    Returns:
        Calls Vault, once, if it has the key; raises what ``Signer.sign`` raises.
    """

    @cache
    def secret() -> bytes:
        from dispatcher.attestation import pae

        signed = _signer(settings, vault).sign(pae(IDS_PAYLOAD_TYPE, _place(settings).encode()))[1]
        return hashlib.sha256(signed).digest()

    return secret


def written_verifier(settings: Settings, verifier: Verifier) -> Written:
    """Recognizes the actions that the dispatcher wrote, by the keys that verify its results."""
    from dispatcher.attestation import SignatureVerifier, WrittenVerifier

    if not isinstance(verifier, SignatureVerifier):
        return NothingWritten()
    return WrittenVerifier(verifier.keys, place=_place(settings))


def _signer(settings: Settings, vault: Vault) -> Signer:
    from dispatcher.attestation import local_signer, transit_signer
    from dispatcher.vault.transit import TransitKey

    if settings.attestation.transit_key:
        return transit_signer(TransitKey(vault, settings))
    return local_signer(settings.state_dir / LOCAL_KEY)


def _place(settings: Settings) -> str:
    """Where signed actions count."""
    return f"{repository_name(settings)}@{settings.ops_repo.branch}"


def result_verifier(settings: Settings, vault: Vault) -> Verifier:
    """Recognises our own results by the public half of the key that signs them."""
    if not settings.attestation.enabled:
        return Unsigned()
    from dispatcher.attestation import SignatureVerifier, local_signer, transit_keys

    if settings.attestation.transit_key:
        from dispatcher.vault.transit import TransitKey

        key = TransitKey(vault, settings)
        return SignatureVerifier(lambda: transit_keys(key))
    file = settings.state_dir / LOCAL_KEY
    return SignatureVerifier(lambda: [local_signer(file).public_key] if file.exists() else [])
