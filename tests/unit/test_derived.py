"""Derived secrets: what settings may say, what travels to the runner, and what is hidden of them."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from dispatcher.errors import InvalidSettings
from dispatcher.model.derived import derivation_input, split_hmac
from dispatcher.model.run import RunKey
from dispatcher.runner.dynamic import Fetched, fetch_dynamic
from dispatcher.runner.redact import Secrets
from dispatcher.runner.vault_client import Reply
from dispatcher.settings import AttestationSettings, Settings, VaultSettings, load_settings
from dispatcher.settings.dynamic import dynamic_secrets, variables_of
from dispatcher.vault.names import policies_of, runner_prefix
from dispatcher.vault.templates import derive_policy, runner_policy
from tests.unit.test_dynamic import spec

RAW = bytes(range(200, 232))
HMAC = f"vault:v3:{base64.b64encode(RAW).decode()}"
VAULT = VaultSettings(derived={"DESKTOP_HMAC": "disinto-desktops"})
KEY = RunKey(action_id="desk-1", blob="ab" * 20)


def problems(tmp_path: Path, text: str) -> str:
    file = tmp_path / "disinto.toml"
    file.write_text(text)
    with pytest.raises(InvalidSettings) as wrong:
        load_settings(file, {})
    return str(wrong.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('[vault.derived]\nlower = "k"', "lower"),
        ('[vault.derived]\nPATH = "k"', "PATH"),
        ('[vault.derived]\nSEED = "a/b"', '"a/b" cannot be the name of a transit key'),
        ('[vault.derived]\nSEED = "../x"', "cannot be the name of a transit key"),
        ('[vault.derived]\nSEED = "*"', "cannot be the name of a transit key"),
        (
            '[attestation]\ntransit_key = "results"\n[vault.derived]\nSEED = "results"',
            "the key that signs results",
        ),
        (
            '[vault.derived]\nDB = "k"\n[vault.dynamic.DB]\npath = "a/b"\nfields = { DB = "x" }',
            "in [vault.dynamic] as well",
        ),
        ('[vault.derived]\nSEED = { key = "k" }', "SEED"),
    ],
)
def test_what_settings_may_not_say(tmp_path: Path, text: str, words: str) -> None:
    assert words in problems(tmp_path, text)


def test_a_run_requests_the_hmac_of_itself_and_of_nothing_else() -> None:
    (secret,) = dynamic_secrets(VAULT, ["OTHER", "DESKTOP_HMAC"], key=KEY)
    assert (secret.path, secret.require_lease) == ("transit/hmac/disinto-desktops", False)
    assert secret.write == {"input": derivation_input(KEY)}
    assert base64.b64decode(secret.write["input"]).decode() == f"desk-1.{'ab' * 20}"
    assert variables_of(VAULT) == {"DESKTOP_HMAC": ("DESKTOP_HMAC",)}


def test_the_runner_gets_it_like_a_dynamic_secret() -> None:
    secrets = dynamic_secrets(VAULT, ["DESKTOP_HMAC"], key=KEY)
    into = Fetched()
    reply = Reply(status=200, body={"data": {"hmac": HMAC}})
    assert not fetch_dynamic(spec(*secrets), lambda _secret: reply, into)
    assert into.values == {"DESKTOP_HMAC": HMAC}
    assert not into.leases


def test_no_two_runs_share_an_input() -> None:
    keys = [RunKey(action_id=i, blob=b * 40) for i in ("a", "a-1", "b") for b in "ab"]
    assert len({derivation_input(key) for key in keys}) == len(keys)


def test_policies_allow_the_one_key_and_only_people_choose_its_version() -> None:
    settings = Settings(vault=VAULT, attestation=AttestationSettings(transit_key="results"))
    run, person = runner_policy(settings, "DESKTOP_HMAC"), derive_policy(settings, "DESKTOP_HMAC")
    for text in (run, person):
        assert 'path "transit/hmac/disinto-desktops" {' in text
    assert "key_version" not in run
    assert "transit/keys/results" not in run
    assert '"key_version" = []' in person
    assert 'path "transit/keys/results"' in person


def test_no_grant_can_have_the_policy_of_people() -> None:
    from dispatcher.vault.names import derive_policy as name_of

    assert not name_of(VAULT, "DESKTOP_HMAC").startswith(runner_prefix(VAULT))
    assert name_of(VAULT, "DESKTOP_HMAC") not in policies_of(VAULT, ["DESKTOP_HMAC"])


@pytest.mark.parametrize("value", ["", "vault:v1:", "vault:v0:" + "A" * 43 + "=", HMAC + "\n", "x"])
def test_what_is_no_hmac_is_named_without_its_text(value: str) -> None:
    with pytest.raises(ValueError, match="not an HMAC") as wrong:
        split_hmac(value)
    assert not value or value not in str(wrong.value)


def test_the_bytes_of_an_hmac_are_redacted_too() -> None:
    assert split_hmac(HMAC) == (3, RAW)
    secrets = Secrets({"DESKTOP_HMAC": HMAC.encode()})
    for form in (HMAC, HMAC.partition(":v3:")[2], RAW.hex(), RAW.hex().upper()):
        assert secrets.redact_text(f"a {form} b") == "a [redacted:DESKTOP_HMAC] b"
    assert secrets.redact(b"x" + RAW + b"y") == b"x[redacted:DESKTOP_HMAC]y"
