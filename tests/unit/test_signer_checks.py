"""What doctor says of the keys that may approve."""

from __future__ import annotations

from pathlib import Path

import pytest

from dispatcher.model.checks import Check
from dispatcher.operate.signer_checks import check_signers
from dispatcher.settings import Settings
from tests.unit.test_trusted_keys import key


def checked(folder: Path, key: str = "allowed_signers") -> Check:
    settings = Settings.model_validate({"signed": {key: folder / key}})
    (check,) = check_signers(settings)
    return check


def test_a_good_list(tmp_path: Path) -> None:
    (tmp_path / "allowed_signers").write_text(f"ada@example.org {key()}\n# end\n")
    check = checked(tmp_path)
    assert check.ok
    assert check.detail.endswith("1 key may approve")


@pytest.mark.parametrize(
    ("text", "detail"),
    [
        ("", "it contains no key"),
        ("# nobody yet\n", "it contains no key"),
        ("garbage\n", "allowed_signers:1: this line contains no key"),
        (f'ada namespaces="file" {key()}\n', "none of its 1 keys is allowed to sign commits"),
        (
            f'ada valid-before="20200101Z" {key()}\n',
            "none of its 1 keys is allowed to sign commits",
        ),
    ],
)
def test_a_list_by_which_nobody_can_approve(tmp_path: Path, text: str, detail: str) -> None:
    (tmp_path / "allowed_signers").write_text(text)
    check = checked(tmp_path)
    assert not check.ok
    assert detail in check.detail
    assert check.remedy


def test_a_list_that_is_missing_or_cannot_be_read(tmp_path: Path) -> None:
    for name in ("allowed_signers", "revoked_keys"):
        check = checked(tmp_path, name)
        assert not check.ok
        assert "cannot be read: No such file or directory" in check.detail
        assert f"[signed] {name}" in check.remedy
        (tmp_path / name).mkdir()
        assert "cannot be read: Is a directory" in checked(tmp_path, name).detail


def test_a_revocation_list(tmp_path: Path) -> None:
    (tmp_path / "revoked_keys").write_text("")
    assert checked(tmp_path, "revoked_keys").ok
    (tmp_path / "revoked_keys").write_text("nonsense\n")
    assert not checked(tmp_path, "revoked_keys").ok


def test_a_gpg_key_that_is_not_in_the_keyring(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    settings = Settings.model_validate(
        {"signed": {"gpg_home": tmp_path, "gpg_fingerprints": ["A" * 40]}}
    )
    (check,) = check_signers(settings)
    assert not check.ok
    assert "A" * 40 in check.detail or "not installed" in check.detail
