"""Attestation: who ran what, signed inside the result, and verifiable offline.

``seal_with`` signs (``envelope``), by a local key or by Vault's transit engine (``keys``);
``verify_result`` verifies (``verify``), purely and without any server. ``provenance`` answers whether
a file in git was signed by us; ``written`` signs the actions that the dispatcher writes itself, and
answers which it wrote.
"""

from dispatcher.attestation.envelope import (
    PAYLOAD_TYPE,
    PREDICATE_TYPE,
    STATEMENT_TYPE,
    Signer,
    pae,
    seal_with,
)
from dispatcher.attestation.keys import (
    LocalSigner,
    Transit,
    TransitSigner,
    key_id,
    load_public_keys,
    local_signer,
    public_pem,
    transit_keys,
    transit_signer,
)
from dispatcher.attestation.provenance import PublicKeys, SignatureVerifier
from dispatcher.attestation.verify import Finding, Kind, Verification, git_blob, verify_result
from dispatcher.attestation.written import WrittenVerifier, sign_action

__all__ = [
    "PAYLOAD_TYPE",
    "PREDICATE_TYPE",
    "STATEMENT_TYPE",
    "Finding",
    "Kind",
    "LocalSigner",
    "PublicKeys",
    "SignatureVerifier",
    "Signer",
    "Transit",
    "TransitSigner",
    "Verification",
    "WrittenVerifier",
    "git_blob",
    "key_id",
    "load_public_keys",
    "local_signer",
    "pae",
    "public_pem",
    "seal_with",
    "sign_action",
    "transit_keys",
    "transit_signer",
    "verify_result",
]
