"""The evidence for checking a result's signature: the files around it, and the trusted keys."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from dispatcher.attestation import Verification, load_public_keys, transit_keys, verify_result
from dispatcher.errors import Misconfigured, NotFound
from dispatcher.model.paths import FORMULAS_PATH, RESULT_ENDING
from dispatcher.model.result import Result
from dispatcher.operate.lookup import no_such
from dispatcher.ops_repo import OpsRepo, Tree
from dispatcher.settings import Settings
from dispatcher.vault.transit import TransitKey

FILE_LIMIT = 1024 * 1024
LOCAL_KEY = "attestation.pub"


@dataclass(frozen=True, kw_only=True, slots=True)
class Evidence:
    """A result and the files it is checked against.

    Attributes:
        path: of the result, for messages.
        data: its bytes.
        action: bytes of the action's file; None if it is missing.
        formula: bytes of the formula as it was when the run was decided; None if they are not
            available (the operator's own formulas are not in git).
    """

    action_id: str
    path: str
    data: bytes
    action: bytes | None
    formula: bytes | None = None

    def check(self, public_keys: Sequence[Ed25519PublicKey]) -> Verification:
        """Verify the result against these keys."""
        return verify_result(
            self.data,
            action_id=self.action_id,
            action=self.action,
            public_keys=public_keys,
            formula=self.formula,
        )


def of_file(path: Path) -> Evidence:
    """A result on disk, with the action file beside it.

    Raises:
        NotFound: there is no such file, or its name is not that of a result file.
    """
    if not path.name.endswith(RESULT_ENDING):
        raise NotFound(f"{path} is not named <id>{RESULT_ENDING}, as results are")
    if not path.is_file():
        raise NotFound(f"there is no file {path}")
    action_id = path.name.removesuffix(RESULT_ENDING)
    action = path.with_name(f"{action_id}.toml")
    return Evidence(
        action_id=action_id,
        path=str(path),
        data=path.read_bytes(),
        action=action.read_bytes() if action.is_file() else None,
    )


def of_action(action_id: str, *, repo: OpsRepo, tree: Tree) -> Evidence:
    """A result of the ops repo, with its action and its formula.

    Raises:
        NotFound: there is no such action, or it has no result yet.
    """
    path = tree.result_path(action_id)
    if path is None:
        if tree.action_path(action_id) is None:
            raise no_such(action_id)
        raise NotFound(f"action {action_id} has no result yet")
    data = _read(repo, tree.commit, path) or b""
    action_path = tree.action_path(action_id)
    return Evidence(
        action_id=action_id,
        path=path,
        data=data,
        action=_read(repo, tree.commit, action_path) if action_path else None,
        formula=_formula(repo, data),
    )


def trusted_keys(
    files: Sequence[Path], settings: Settings | None, transit: TransitKey | None
) -> list[Ed25519PublicKey]:
    """The keys whose signatures count: those named, else those of these settings.

    Raises:
        Misconfigured: there is none.
        InvalidInput, FileNotFoundError: a file is no public key.
        Unavailable, Denied: Vault has the key, and cannot be reached.
    """
    named = list(files)
    if not named and settings is not None:
        if settings.attestation.transit_key and transit is not None:
            return list(transit_keys(transit))
        local = settings.state_dir / LOCAL_KEY
        named = [local] if local.is_file() else []
    keys = [key for file in named for key in load_public_keys(file.read_bytes(), path=str(file))]
    if not keys:
        raise Misconfigured(
            "there is no public key to verify with",
            remedy=f"Pass the dispatcher's: --key {LOCAL_KEY} (from its state_dir).",
        )
    return keys


def _formula(repo: OpsRepo, data: bytes) -> bytes | None:
    """The formula of the ops repo, at the commit where the run was decided."""
    try:
        result = Result.model_validate_json(data)
    except ValueError:
        return None
    if result.formula is None or not result.formula.sha256 or not result.commit:
        return None
    for ending in ("sh", "toml"):
        text = _read(repo, result.commit, f"{FORMULAS_PATH}/{result.formula.name}.{ending}")
        if text is not None:
            return text
    return None


def _read(repo: OpsRepo, commit: str, path: str) -> bytes | None:
    data = repo.read_file(commit, path, limit=FILE_LIMIT)
    return data if isinstance(data, bytes) else None
