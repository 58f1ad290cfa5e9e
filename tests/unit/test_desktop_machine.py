"""The user data of a desktop: no value gets out of its file, and secrets are where only root reads."""

from __future__ import annotations

import json
from dataclasses import replace
from hashlib import sha256

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from dispatcher.desktop.machine import (
    GUACAMOLE_IMAGE,
    GUACD_IMAGE,
    USER_DATA_LIMIT,
    Vigilance,
    user_data,
)
from dispatcher.errors import InvalidValue
from tests.support import machines

ETC = "/etc/disinto-desktop"


def test_a_desktop_with_everything_fits_into_user_data() -> None:
    assert len(user_data(machines.full_machine()).encode()) < USER_DATA_LIMIT // 2


def test_user_data_depends_on_the_machine_alone() -> None:
    assert user_data(machines.full_machine()) == user_data(machines.full_machine())


def test_secrets_are_in_files_of_root_alone_and_nowhere_else() -> None:
    machine = machines.full_machine()
    text = user_data(machine)
    secrets = {
        machine.credentials.vnc_password: f"{ETC}/vnc-password",
        machine.credentials.guacamole_key.hex(): f"{ETC}/guacamole/environment",
        machine.certificate.key_pem: f"{ETC}/tls/key.pem",
    }
    files = machines.written(text)
    for secret, place in secrets.items():
        assert [path for path, file in files.items() if secret.encode() in file.content] == [place]
        assert files[place].mode == 0o600
        assert secret not in text
        assert secret not in repr(machine)


def test_images_are_pinned_by_digest() -> None:
    files = machines.written(user_data(machines.machine()))
    for program, image in (("guacd", GUACD_IMAGE), ("guacamole", GUACAMOLE_IMAGE)):
        assert "@sha256:" in image
        unit = files[f"/etc/systemd/system/disinto-desktop-{program}.service"].content.decode()
        assert image in unit
        assert files[f"{ETC}/guacamole/{program}.image"].content.decode() == image + "\n"


def test_vigilance_has_its_configuration_only_where_it_is_wanted() -> None:
    place = "/etc/vigilance/config.json"
    assert place not in machines.written(user_data(machines.machine()))
    vigilance = Vigilance(model='a"\nb: c', screenshots=True)
    files = machines.written(user_data(machines.machine(vigilance=vigilance)))
    settings = json.loads(files[place].content)
    assert settings["classifier_model"] == vigilance.model
    assert settings["save_screenshots"] is True


@settings(max_examples=20)
@given(desktop_id=st.text(), run_key=st.text(), model=st.text())
def test_hostile_values_stay_in_their_files(desktop_id: str, run_key: str, model: str) -> None:
    plain = machines.machine()
    machine = replace(
        plain, desktop_id=desktop_id, run_key=run_key, vigilance=Vigilance(model=model)
    )
    changed = user_data(machine)
    before = machines.written(user_data(replace(plain, vigilance=Vigilance())))
    after = machines.written(changed)
    assert set(after) == set(before)
    differing = {path for path in after if after[path] != before[path]}
    assert differing <= {f"{ETC}/machine.json", "/etc/vigilance/config.json"}
    rest = {key: value for key, value in yaml.safe_load(changed).items() if key != "write_files"}
    assert rest["hostname"] == "desk-1"
    assert rest["runcmd"][1][-1] == "disinto-desktop-setup.service"


@settings(max_examples=40)
@given(st.text() | st.from_regex(r"[a-z0-9.-]*[\n;:$'\"{}]?[a-z0-9.-]*", fullmatch=True))
def test_a_host_name_is_one_or_is_refused(name: str) -> None:
    try:
        text = user_data(machines.machine(name=name))
    except InvalidValue:
        return
    assert yaml.safe_load(text)["hostname"] == name
    assert all(part and part.strip("-") == part and part.isascii() for part in name.split("."))


@pytest.mark.parametrize(
    "key",
    [
        "",
        "ssh-ed25519",
        machines.SSH_KEY + "\n" + machines.SSH_KEY,
        'command="id" ' + machines.SSH_KEY,
        "# " + machines.SSH_KEY,
        machines.SSH_KEY + "\x00",
    ],
)
def test_what_is_no_public_key_is_refused(key: str) -> None:
    with pytest.raises(InvalidValue, match="is not a public key"):
        user_data(machines.machine(ssh_keys=(key,)))


def test_keys_arrive_as_lines() -> None:
    files = machines.written(user_data(machines.machine(ssh_keys=(machines.SSH_KEY,) * 2)))
    lines = files[f"{ETC}/authorized_keys"].content.decode()
    assert lines == f"{machines.SSH_KEY}\n{machines.SSH_KEY}\n"


def test_what_is_too_large_is_refused_in_words() -> None:
    keys = tuple(f"ssh-rsa {sha256(bytes([n % 256, n >> 8])).hexdigest()}" for n in range(3_000))
    with pytest.raises(InvalidValue, match=r"more than 65536 bytes.*Choose fewer"):
        user_data(machines.machine(ssh_keys=keys))


@pytest.mark.parametrize("password", ["short", "line\nbrk", "ninechars", "eight ch"])
def test_a_password_that_vnc_would_cut_is_refused(password: str) -> None:
    credentials = replace(machines.CREDENTIALS, vnc_password=password)
    with pytest.raises(InvalidValue, match="eight printable ASCII") as raised:
        user_data(replace(machines.machine(), credentials=credentials))
    assert password not in str(raised.value)
