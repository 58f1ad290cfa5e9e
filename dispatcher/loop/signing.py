"""Signs results, and verifies which are ours, with the key that the settings name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dispatcher.loop.result_writer import Entry, Sign, Unsigned, Verifier

if TYPE_CHECKING:
    from dispatcher.settings import Settings
    from dispatcher.vault import Vault

LOCAL_KEY = "attestation.key"
"""Name of the file in the state directory with the private key, if no transit key is configured."""


def result_signer(settings: Settings, vault: Vault) -> Sign:
    """Signs results as the settings say; if signatures are off, the text stays as it is."""
    if not settings.attestation.enabled:
        return lambda entry: entry.text
    from dispatcher.attestation import Signer, local_signer, seal_with, transit_signer
    from dispatcher.vault.transit import TransitKey

    signer: Signer
    if settings.attestation.transit_key:
        signer = transit_signer(TransitKey(vault, settings))
    else:
        signer = local_signer(settings.state_dir / LOCAL_KEY)

    def sign(entry: Entry) -> str:
        return seal_with(signer, entry.text, policies=entry.policies)

    return sign


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
