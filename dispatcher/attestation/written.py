"""Signs the actions that the dispatcher writes itself, and verifies which it wrote.

The last line of such a file is ``signature = "<key id>:<base64>"``: an ed25519 signature over every
byte before that line, and over the ops repo and branch that it is for. So no byte can be changed, and
a copy under another id is not ours, because the id is among those bytes. A copy of a whole file under
its own id cannot be told from the original; what keeps it from running twice is that an id runs once.
"""

from __future__ import annotations

import base64
import re
import tomllib
from collections.abc import Sequence

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from dispatcher.attestation.envelope import Signer, exact_base64, pae
from dispatcher.attestation.keys import key_id
from dispatcher.attestation.provenance import PublicKeys

PAYLOAD_TYPE = "application/vnd.disinto.action+toml"
"""DSSE's payload type, so that this signature is valid for nothing else that the key signs."""

_LAST_LINE = re.compile(
    rb'(?:\A|(?<=\n))signature = "(?P<key>[0-9a-f]{64}):(?P<sig>[A-Za-z0-9+/]{86}==)"\n\Z'
)
_LAST_LINE_BYTES = 200


def sign_action(signer: Signer, text: str, *, place: str) -> str:
    """The file's text with its signature.

    Args:
        text: TOML whose last table is ``[source]``, ending with a line feed. Never one read from git.
        place: repository and branch.
    """
    keyid, signature = signer.sign(_signed(text.encode(), place))
    return f'{text}signature = "{keyid}:{base64.b64encode(signature).decode()}"\n'


class WrittenVerifier:
    """Recognizes the actions that the dispatcher wrote itself, by their signature. Thread-safe.

    Args:
        keys: our public keys.
        place: repository and branch.
    """

    def __init__(self, keys: PublicKeys, *, place: str) -> None:
        self._keys, self._place = keys, place

    def wrote(self, data: bytes, *, action_id: str) -> bool:
        """Whether we wrote exactly these bytes as the action of this id.

        Args:
            data: the bytes of an action file, whoever wrote it.

        Raises:
            Unavailable, Denied: Vault has the key and cannot be reached.
            Misconfigured: the key cannot be used.
        """
        line = _LAST_LINE.search(data, max(0, len(data) - _LAST_LINE_BYTES))
        if line is None:
            return False
        signature = exact_base64(line["sig"].decode())
        if signature is None:
            return False
        keyid = line["key"].decode()
        payload = _signed(data[: line.start()], self._place)
        for keys in self._keys.in_turn():
            if key := _key(keys, keyid):
                return _verifies(key, signature, payload) and _id_of(data) == action_id
        return False


def _signed(text: bytes, place: str) -> bytes:
    return pae(PAYLOAD_TYPE, place.encode() + b"\n" + text)


def _key(keys: Sequence[Ed25519PublicKey], keyid: str) -> Ed25519PublicKey | None:
    return next((key for key in keys if key_id(key) == keyid), None)


def _verifies(key: Ed25519PublicKey, signature: bytes, payload: bytes) -> bool:
    try:
        key.verify(signature, payload)
    except InvalidSignature:
        return False
    return True


def _id_of(data: bytes) -> object:
    """The id in a file that carries our signature."""
    try:
        return tomllib.loads(data.decode()).get("id")
    except ValueError:
        return None
