"""``[[notify]]``: what is accepted, and what is said of what is not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dispatcher.errors import InvalidSettings
from dispatcher.model.notice import Condition
from dispatcher.settings import Settings, credential_files, load_settings, plain_addresses

WEBHOOK = """
[[notify]]
name = "ops"
kind = "webhook"
on = ["failed", "lost"]
url = "https://hooks.example/x"
secret_file = "hook.secret"
"""
MAIL = """
[[notify]]
name = "mail"
kind = "smtp"
on = ["waits_for_approval"]
host = "mail.example"
sender = "disinto@example.org"
recipients = ["ops@example.org"]
"""


def load(folder: Path, text: str) -> Settings:
    (folder / "disinto.toml").write_text(text)
    return load_settings(folder / "disinto.toml", {})


def problem(folder: Path, text: str) -> str:
    with pytest.raises(InvalidSettings) as caught:
        load(folder, text)
    (only,) = caught.value.problems
    return f"{only.line}: {only.message}. {only.remedy}"


def test_tables_become_sinks_and_their_paths_are_of_the_file(tmp_path: Path) -> None:
    settings = load(tmp_path, WEBHOOK + MAIL)
    assert [sink.name for sink in settings.notify] == ["ops", "mail"]
    assert settings.notify[0].on == (Condition.FAILED, Condition.LOST)
    assert settings.notify[0].secret_file == tmp_path / "hook.secret"
    assert tmp_path / "hook.secret" in credential_files(settings)


def test_a_variable_overrides_all_of_them() -> None:
    table = {"name": "ops", "kind": "webhook", "on": ["failed"], "url": "https://x.example"}
    settings = load_settings(None, {"DISINTO_NOTIFY": json.dumps([table]), "HOME": "/nowhere"})
    assert [sink.name for sink in settings.notify] == ["ops"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (WEBHOOK.replace("failed", "fialed"), 'not "fialed". Did you mean "failed"?'),
        (WEBHOOK.replace("url =", "ulr ="), '"ulr"'),
        (WEBHOOK.replace('"webhook"', '"webhoook"'), 'Did you mean "webhook"?'),
        (WEBHOOK.replace('["failed", "lost"]', "[]"), "on must"),
        (WEBHOOK.replace('"ops"', '"Ops!"'), "name must"),
        (WEBHOOK.replace("url =", "#url ="), "url is missing, which kind webhook needs"),
        (WEBHOOK.replace("https://", "ftp://"), "url must start with http:// or https://"),
        (WEBHOOK.replace("https://", "https://me:canary@"), "url contains a password"),
        (WEBHOOK + 'room = "!a:b"\n', "room is not a key of kind webhook"),
        (WEBHOOK + 'secret = "canary"\n', "secret_env, secret_file"),
        (WEBHOOK + 'secret_env = "X"\n', "both secret_env and secret_file"),
        (WEBHOOK + WEBHOOK, 'two sinks have the name "ops"'),
        (WEBHOOK + "per_minute = 0\n", "per_minute must be from 1 to 600"),
        (MAIL.replace("ops@example.org", "ops"), "cannot be a mail address"),
        (
            MAIL.replace("ops@example.org", r"a@b.c\nBcc: x@y.z"),
            "cannot be a mail address",
        ),
        (MAIL + 'username = "me"\n', "username is set without a password"),
        (
            MAIL + 'username = "me"\nsecret_env = "P"\ntls = "none"\n',
            "would send the password unencrypted",
        ),
        (
            '[[notify]]\nname = "c"\nkind = "slack"\non = ["lost"]\n',
            "kind slack needs a secret: the whole address",
        ),
        (
            '[[notify]]\nname = "m"\nkind = "matrix"\non = ["lost"]\nurl = "https://m.example"\n'
            'secret_env = "T"\nroom = "#ops:m.example"\n',
            "cannot be the ID of a room",
        ),
    ],
)
def test_what_is_wrong_is_said_at_its_line(tmp_path: Path, text: str, said: str) -> None:
    told = problem(tmp_path, text)
    assert said in told
    assert told.split(":")[0].isdigit()
    assert "canary" not in told


@pytest.mark.parametrize("key", ["template", "secret_file", "cacert"])
def test_what_a_merged_pull_request_could_change_is_refused(tmp_path: Path, key: str) -> None:
    ops = tmp_path / "ops"
    table = WEBHOOK.replace('secret_file = "hook.secret"\n', "") + f'{key} = "ops/file"\n'
    told = problem(tmp_path, f'[ops_repo]\nremote = "{ops}"\n{table}')
    assert f"notify.{key} is inside the ops repo" in told


def test_as_many_sinks_as_make_sense(tmp_path: Path) -> None:
    many = "".join(WEBHOOK.replace("ops", f"ops{number}") for number in range(21))
    assert "at most 20 entries" in problem(tmp_path, many)


@pytest.mark.parametrize(
    ("text", "key"),
    [
        (WEBHOOK.replace("https:", "http:"), "[[notify]] ops"),
        (MAIL + 'tls = "none"\n', "[[notify]] mail"),
    ],
)
def test_what_crosses_the_network_unencrypted_is_warned_of(
    tmp_path: Path, text: str, key: str
) -> None:
    (plain,) = plain_addresses(load(tmp_path, text))
    assert plain.key == key
    assert plain.remedy


def test_loopback_and_tls_are_right(tmp_path: Path) -> None:
    local = WEBHOOK.replace("https://hooks.example", "http://127.0.0.1:9000")
    mail = MAIL.replace("mail.example", "localhost") + 'tls = "none"\n'
    assert plain_addresses(load(tmp_path, local + mail)) == ()
    assert plain_addresses(load(tmp_path, WEBHOOK + MAIL)) == ()
