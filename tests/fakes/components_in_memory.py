"""What ``one_dispatcher`` acts through, in memory: the parts of a service, its lease and its view."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from dispatcher.attestation import SignatureVerifier, key_id, seal_with
from dispatcher.decide.policy import Policy
from dispatcher.decide.world import Requested
from dispatcher.loop.components import NothingWritten
from dispatcher.loop.outgoing import Entry
from dispatcher.loop.output_keeping import NoOutputs, Outputs
from dispatcher.model.result import Result
from dispatcher.model.run import Formula, FormulaRef, RunKey
from dispatcher.ops_repo import Changes, Delta, Tree
from dispatcher.settings import Settings
from tests.fakes.actions_with_rules import FORMULA
from tests.fakes.branch import MemoryClone
from tests.fakes.outside import MemoryEngine, MemoryLedger, MemoryVault

SETTINGS = Settings()


class Key:
    """Our key. ``signs`` is told of each result that is signed: its facts."""

    def __init__(self, signs: Callable[[dict[str, Any]], None]) -> None:
        self._key = Ed25519PrivateKey.generate()
        self._signs = signs
        public = self._key.public_key()
        self.verifier = SignatureVerifier(lambda: [public])

    def sign(self, data: bytes) -> tuple[str, bytes]:
        return key_id(self._key.public_key()), self._key.sign(data)

    def sign_result(self, entry: Entry) -> str:
        sealed = seal_with(self, entry.text)
        if sealed != entry.text:
            envelope = json.loads(sealed)["attestation"]
            statement = json.loads(base64.b64decode(envelope["payload"]))
            self._signs(statement["predicate"]["result"])
        return sealed


class NoAudit:
    def append(self, event: str, **facts: object) -> None:
        pass


@dataclass
class Notices:
    """What people are notified of; on the disk when it is recorded."""

    recorded: set[RunKey] = field(default_factory=set)

    def record(self, result: Result) -> None:
        self.recorded.add(RunKey(action_id=result.id, blob=result.blob))


class Formulas:
    def by_ref(self, ref: FormulaRef) -> Formula:
        return FORMULA


@dataclass
class Components:
    """What the service uses of the real ones."""

    ledger: MemoryLedger
    grants: MemoryVault
    scheduler: MemoryEngine
    repo: MemoryClone
    key: Key
    audit: NoAudit = field(default_factory=NoAudit)
    formula_store: Formulas = field(default_factory=Formulas)
    notices: Notices = field(default_factory=Notices)
    outputs: Outputs = field(default_factory=NoOutputs)
    settings: Settings = SETTINGS
    cancels: dict[str, Requested] = field(default_factory=dict)  # in git, as they are approved
    unapproved: set[str] = field(default_factory=set)
    now: float = 0.0  # what every clock shows, seconds since the epoch
    written: NothingWritten = field(default_factory=NothingWritten)
    reporter: None = None

    @property
    def sign_result(self) -> Callable[[Entry], str]:
        return self.key.sign_result

    @property
    def verifier(self) -> SignatureVerifier:
        return self.key.verifier


class Lead:
    """A lease that is taken away."""

    def __init__(self) -> None:
        self.is_held = True

    def held(self) -> bool:
        return self.is_held


@dataclass
class View:
    """The tree of the view, without vetting and gates."""

    repo: MemoryClone
    tree: Tree = field(default_factory=Tree)
    policy: Policy = field(default_factory=Policy)

    def enter(self, delta: Delta) -> Changes:
        return self.tree.enter(delta)

    def rewritten(self) -> None:
        pass
