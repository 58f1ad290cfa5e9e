"""A repository with results and entries of an inventory, in memory."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from dispatcher.attestation import SignatureVerifier, git_blob, key_id, seal_with
from dispatcher.loop.foreign import InGit
from dispatcher.loop.inventory import InventoryEntry, InventoryReader
from dispatcher.loop.inventory_cache import FactCache
from dispatcher.model.inventory import Change
from dispatcher.model.inventory_entry import entry_path, rendered
from dispatcher.model.result import Result, ResultInventory
from dispatcher.model.verdicts import Verdict
from dispatcher.ops_repo import Entry

KEYS = [Ed25519PrivateKey.generate() for _ in range(2)]
Named = tuple[str, str]
WEB = ("machine", "web")


def result(
    action_id: str, change: Change = Change.CREATES, *, at: int = 0, **entry: object
) -> Result:
    done = ResultInventory(change=change, kind="machine", id="web", entry=dict(entry))
    return Result(
        id=action_id,
        exit_code=0,
        timestamp=f"2026-01-01T00:00:{at:02}.000Z",
        verdict=Verdict.SUCCEEDED,
        inventory=done,
    )


class Git:
    """A repository in memory: one commit.

    Attributes:
        reads: how many blobs were read.
        walks: the commits since which messages were read, "" for all.
    """

    def __init__(self) -> None:
        self.blobs: dict[str, bytes] = {}
        self.files: dict[Named, Entry] = {}
        self.results: dict[str, str] = {}
        self.versions: dict[str, dict[str, None]] = {}
        self.claims: dict[Named, dict[str, None]] = {}
        self.reads, self.walks, self.commit, self.rewritten = 0, list[str](), "1", False

    def add(self, made: Result, *, key: Ed25519PrivateKey = KEYS[0], claim: bool = True) -> None:
        """A result, and the entry that it writes."""
        self.results[made.id] = self.blob(sealed(made, key).encode())
        if claim:
            self.versions.setdefault(made.id, {})[self.results[made.id]] = None
        if claim and made.inventory:
            self.claims.setdefault(WEB, {})[made.id] = None
        if made.inventory and made.inventory.change is not Change.DESTROYS:
            self.put(rendered(made))
        elif made.inventory:
            self.remove()

    def put(self, data: bytes) -> None:
        """Somebody writes the entry's file."""
        self.files[WEB] = Entry(mode=0o100644, oid=self.blob(data))
        self.commit = str(int(self.commit) + 1)

    def remove(self) -> None:
        """Somebody removes it."""
        del self.files[WEB]
        self.commit = str(int(self.commit) + 1)

    def blob(self, data: bytes) -> str:
        oid = git_blob(data)
        self.blobs[oid] = data
        return oid

    def inventory(self, commit: str) -> dict[Named, Entry]:
        return dict(self.files)

    def inventory_changes(self, commit: str, *, since: str = "") -> dict[Named, dict[str, None]]:
        self.walks.append(since)
        return {named: dict(ids) for named, ids in self.claims.items()}

    def entries_at(self, commit: str, paths: Iterable[str]) -> Mapping[str, Entry]:
        return {path: self.files[WEB] for path in paths if path == entry_path(*WEB)}

    def is_ancestor(self, ancestor: str, commit: str) -> bool:
        return not self.rewritten and int(ancestor) <= int(commit)

    def has_commit(self, oid: str) -> bool:
        return True

    def read(self, blobs: Iterable[str], *, limit: int) -> Mapping[str, bytes | int]:
        wanted = list(blobs)
        self.reads += len(wanted)
        return {oid: self.blobs[oid] for oid in wanted}

    def read_present(self, blobs: Iterable[str], *, limit: int) -> Mapping[str, bytes | int]:
        return self.read([oid for oid in blobs if oid in self.blobs], limit=limit)

    def result_versions(self, commit: str, *, since: str = "") -> Mapping[str, Iterable[str]]:
        return {action_id: list(blobs) for action_id, blobs in self.versions.items()}

    def locate(self, action_id: str) -> InGit | None:
        blob = self.results.get(action_id)
        return None if blob is None else InGit(action_id=action_id, commit="1", path="", blob=blob)


def sealed(made: Result, key: Ed25519PrivateKey) -> str:
    class Signer:
        def sign(self, data: bytes) -> tuple[str, bytes]:
            return key_id(key.public_key()), key.sign(data)

    return seal_with(Signer(), made.to_json())


def reader(git: Git, state: Path | None = None, keys: tuple[int, ...] = (0,)) -> InventoryReader:
    verifier = SignatureVerifier(lambda: [KEYS[n].public_key() for n in keys])
    return InventoryReader(git, verifier, FactCache(state))


def read(inventory: InventoryReader, git: Git, **more: Any) -> list[InventoryEntry]:
    return inventory.read(git.commit, git.locate, **more)
