"""Settings from file and environment: where they are found, what goes over what, what is told."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.errors import InvalidInput, Misconfigured
from dispatcher.model.mounts import Mount
from dispatcher.settings import (
    FILE_NAME,
    GateKind,
    Settings,
    VaultAuth,
    find_settings,
    load_settings,
)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    home = tmp_path / "home"
    home.mkdir()
    return home


def write(folder: Path, text: str = "") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / FILE_NAME
    file.write_text(text)
    return file


def load(folder: Path, text: str, **environ: str) -> Settings:
    return load_settings(write(folder, text), environ, folder=folder)


def told(folder: Path, text: str, **environ: str) -> list[str]:
    with pytest.raises(InvalidInput) as caught:
        load(folder, text, **environ)
    place = f"{folder / FILE_NAME}:"
    return [str(problem).removeprefix(place) for problem in caught.value.problems]


class TestFinding:
    def test_the_named_file_goes_first(self, tmp_path: Path, home: Path) -> None:
        named, other = write(tmp_path / "named"), write(tmp_path / "other")
        write(tmp_path / "here")
        environ = {"HOME": str(home), "DISINTO_CONFIG": str(other)}
        assert find_settings(named, environ, folder=tmp_path / "here") == named
        assert find_settings(None, environ, folder=tmp_path / "here") == other

    def test_the_folder_and_those_above_are_searched(self, tmp_path: Path, home: Path) -> None:
        file = write(tmp_path / "a")
        deep = tmp_path / "a" / "b" / "c"
        deep.mkdir(parents=True)
        assert find_settings(None, {}, folder=deep) == file
        mine = write(home / ".config" / "disinto")
        elsewhere = tmp_path / "elsewhere"
        elsewhere.mkdir()
        assert find_settings(None, {"HOME": str(home)}, folder=elsewhere) == mine
        assert find_settings(None, {}, folder=elsewhere) is None

    def test_a_named_file_must_be_there(self, tmp_path: Path) -> None:
        with pytest.raises(Misconfigured, match=r"no settings file .*no\.toml"):
            find_settings(tmp_path / "no.toml", {}, folder=tmp_path)
        with pytest.raises(Misconfigured, match="named by DISINTO_CONFIG"):
            find_settings(None, {"DISINTO_CONFIG": "no.toml"}, folder=tmp_path)

    @pytest.mark.parametrize("named", [True, False])
    def test_a_file_inside_an_ops_repo_is_refused(self, tmp_path: Path, *, named: bool) -> None:
        file = write(tmp_path / "config")
        (tmp_path / "vault" / "actions").mkdir(parents=True)
        with pytest.raises(Misconfigured, match="is inside the ops repo"):
            find_settings(file if named else None, {}, folder=tmp_path / "config")

    def test_without_a_file_defaults_and_environment_count(self, tmp_path: Path) -> None:
        settings = load_settings(None, {"DISINTO_SCHEDULER": "nomad"}, folder=tmp_path)
        assert settings.scheduler == "nomad"
        assert settings.state_dir == tmp_path / ".disinto"

    def test_an_unreadable_file_is_told(self, tmp_path: Path) -> None:
        file = write(tmp_path)
        file.write_bytes(b"a = \xff")
        with pytest.raises(InvalidInput, match=r"disinto\.toml:1:5: byte 0xff is not UTF-8"):
            load_settings(file, {}, folder=tmp_path)


class TestOrder:
    def test_own_variables_go_over_customary_ones_over_the_file(self, tmp_path: Path) -> None:
        text = '[vault]\naddr = "http://file:1"\nnamespace = "file"\nkv_mount = "file"\n'
        settings = load(
            tmp_path,
            text,
            VAULT_ADDR="http://customary:1",
            VAULT_NAMESPACE="customary",
            DISINTO_VAULT__NAMESPACE="own",
        )
        assert settings.vault.addr == "http://customary:1"
        assert settings.vault.namespace == "own"
        assert settings.vault.kv_mount == "file"

    def test_an_empty_customary_variable_counts_as_unset(self, tmp_path: Path) -> None:
        settings = load(tmp_path, '[vault]\nnamespace = "file"', VAULT_NAMESPACE="")
        assert settings.vault.namespace == "file"

    def test_variables_are_read_in_the_type_of_their_key(self, tmp_path: Path) -> None:
        settings = load(
            tmp_path,
            "",
            DISINTO_LIMITS__WORKERS="3",
            DISINTO_ARCHIVE__AFTER_DAYS="0.5",
            DISINTO_ATTESTATION__ENABLED="no",
            DISINTO_NOMAD__DATACENTERS="a, b",
            DISINTO_AGENT__COMMAND='["claude", "-p, then"]',
            DISINTO_LOCAL__MOUNTS='{"ssh": "/srv/ssh"}',
            DISINTO_HTTP__LISTEN="",
            DISINTO_VAULT__AUTH="jwt",
            DISINTO_FORGE__APPROVERS="",
        )
        assert settings.limits.workers == 3
        assert settings.archive.after_days == 0.5
        assert settings.attestation.enabled is False
        assert settings.nomad.datacenters == ("a", "b")
        assert settings.agent.command == ("claude", "-p, then")
        assert settings.local.mounts == {Mount.SSH: Path("/srv/ssh")}
        assert settings.http.listen == ""
        assert settings.vault.auth is VaultAuth.JWT
        assert settings.forge.approvers == ()


class TestPaths:
    def test_paths_of_the_file_are_relative_to_its_folder(self, tmp_path: Path) -> None:
        text = """
        state_dir = "state"
        [ops_repo]
        remote = "../ops.git"
        [vault]
        cacert = "~/ca.pem"
        token_file = ""
        [local.mounts]
        ssh = "keys/../ssh"
        [formulas]
        path = "/srv/formulas"
        [agent]
        command = ["./agent", "./argument"]
        """
        settings = load(tmp_path / "a", text, HOME="/home/me")
        assert settings.state_dir == tmp_path / "a" / "state"
        assert settings.ops_repo.remote == str(tmp_path / "ops.git")
        assert settings.vault.cacert == Path("/home/me/ca.pem")
        assert settings.vault.token_file is None
        assert settings.local.mounts == {Mount.SSH: tmp_path / "a" / "ssh"}
        assert settings.formulas.path == Path("/srv/formulas")
        assert settings.agent.command == (str(tmp_path / "a" / "agent"), "./argument")

    def test_paths_of_the_environment_are_relative_to_the_current_folder(
        self, tmp_path: Path
    ) -> None:
        file = write(tmp_path / "a")
        environ = {"VAULT_CACERT": "ca.pem", "DISINTO_POLICY__FILE": "policy.toml"}
        settings = load_settings(file, environ, folder=tmp_path / "b")
        assert settings.vault.cacert == tmp_path / "b" / "ca.pem"
        assert settings.policy.file == tmp_path / "b" / "policy.toml"

    @pytest.mark.parametrize(
        "remote", ["ssh://git@host/x", "git@host:x.git", "https://host/x", "file:///x"]
    )
    def test_addresses_are_left_as_they_are(self, tmp_path: Path, remote: str) -> None:
        settings = load(tmp_path, f'[ops_repo]\nremote = "{remote}"')
        assert settings.ops_repo.remote == remote


class TestProblems:
    def test_all_are_told_at_once_with_their_places(self, tmp_path: Path) -> None:
        text = """\
schedular = "nomad"
[vault]
auth = "tokn"
gate = "signed"
[nomad]
cpu_mhz = "200"
disk_mb = 0
[local.mounts]
shs = "/x"
[agent]
command = "claude -p"
"""
        assert told(tmp_path, text, DISINTO_VAULT__ADR="x", DISINTO_NOMAD__PRIORITY="high") == [
            '1:1: unknown key "schedular". Did you mean "scheduler"?',
            '3:8: vault.auth must be token, approle or jwt, not "tokn". Did you mean "token"?',
            '4:1: unknown key "gate" in [vault]. It belongs to [policy]',
            "6:11: nomad.cpu_mhz must be a whole number more than 0, not a string",
            "7:11: nomad.disk_mb must be more than 0",
            '9:1: unknown key "shs" in [local.mounts]. Did you mean "ssh"?',
            "11:11: agent.command must be a list of strings, not a string. "
            'Write command = ["claude -p"]',
            "DISINTO_NOMAD__PRIORITY: nomad.priority must be a whole number from 1 to 100, "
            "not a string",
            "DISINTO_VAULT__ADR: there is no such setting. Did you mean DISINTO_VAULT__ADDR?",
        ]

    @pytest.mark.parametrize(
        "line", ["token = 'hvs.SECRET'", "secret_id = 'SECRET'", "password = 'SECRET'"]
    )
    def test_a_secret_in_the_file_is_sent_elsewhere_and_not_repeated(
        self, tmp_path: Path, line: str
    ) -> None:
        (problem,) = told(tmp_path, f"[vault]\n{line}")
        assert "Secrets do not belong in this file" in problem
        assert "token_file" in problem
        assert "SECRET" not in problem

    def test_a_password_in_an_address_is_refused_and_not_repeated(self, tmp_path: Path) -> None:
        (problem,) = told(tmp_path, '[ops_repo]\nremote = "https://me:SECRET@host/x"')
        assert problem.startswith("2:10: the remote's address contains a password")
        assert "SECRET" not in problem

    def test_a_list_of_lists_in_a_variable_is_json(self, tmp_path: Path) -> None:
        settings = load(tmp_path, "", DISINTO_NOMAD__MOUNT_SETS='[["ssh"], ["gpg", "ssh"]]')
        assert settings.nomad.mount_sets == ((Mount.SSH,), (Mount.GPG, Mount.SSH))
        (problem,) = told(tmp_path, "", DISINTO_NOMAD__MOUNT_SETS="ssh,gpg")
        assert problem.startswith("DISINTO_NOMAD__MOUNT_SETS: this is not JSON")

    def test_broken_json_in_a_variable_is_told(self, tmp_path: Path) -> None:
        (problem,) = told(tmp_path, "", DISINTO_LOCAL__MOUNTS="{ssh")
        assert problem.startswith("DISINTO_LOCAL__MOUNTS: this is not JSON")

    @pytest.mark.parametrize(
        ("name", "meant"),
        [
            ("DISINTO_STATEDIR", "DISINTO_STATE_DIR"),
            ("DISINTO_VAULT_ADDR", "DISINTO_VAULT__ADDR"),
            ("DISINTO_NOMAD__MEMORY", "DISINTO_NOMAD__MEMORY_MB"),
        ],
    )
    def test_a_variable_close_to_a_setting_is_told(
        self, tmp_path: Path, name: str, meant: str
    ) -> None:
        assert told(tmp_path, "", **{name: "x"}) == [
            f"{name}: there is no such setting. Did you mean {meant}?"
        ]

    def test_variables_with_another_meaning_are_no_problem(self, tmp_path: Path) -> None:
        load(
            tmp_path,
            '[ops_repo]\ntoken_env = "DISINTO__MY_TOKEN"',
            DISINTO__MY_TOKEN="x",
            DISINTO_FORGE_TOKEN="x",
            DISINTO_WEBHOOK_SECRET="x",
            DISINTO_REQUIRE="nomad",
            DISINTO_ACTION_ID="a",
            DISINTO_MODEL="x",
            OTHER__THING="x",
        )

    @pytest.mark.parametrize(
        ("text", "words"),
        [
            ("log_level = 'loud'", "log_level cannot be"),
            ("[ops_repo]\nbranch = '-x'", "cannot be the name of a branch"),
            ("[ops_repo]\nbranch = 'a..b'", "cannot be the name of a branch"),
            ("[ops_repo]\nremote = '-x:y'", "begins with -"),
            ("[vault]\naddr = 'vault:8200'", "must start with http://"),
            ("[vault]\naddr = 'http://me:x@vault:8200'", "vault.addr contains a password"),
            ("[vault]\nkv_prefix = '/a/'", "begins or ends with /"),
            ("[vault]\nbots_prefix = 'disinto/runner/bots'", "are among those of actions"),
            ("[vault]\nauth = 'approle'\nrole_id = 'x'", "needs a secret_id_file"),
            ("[nomad]\nclient_cert = 'c.pem'", "one is missing. Set client_key"),
            ("[nomad]\nmemory_max_mb = 100", "smaller than memory_mb"),
            (
                "scheduler = 'nomad'\n[nomad]\nplacement_wait_s = 9000",
                "its grant can be unwrapped for 3600 s only",
            ),
            ("[agent]\ncommand = ['a', '{modle}']", "no placeholder {modle}. Did you mean"),
            ("[policy]\ngate = 'signed'", "requires trusted keys"),
            ("[signed]\ngpg_home = '/g'\ngpg_fingerprints = ['AB']", "not a full fingerprint"),
            ("[signed]\ngpg_fingerprints = ['" + "A" * 40 + "']", "Set gpg_home"),
            ("[policy]\ngate = 'forgejo'\n[forge]\nurl = 'https://f'", "needs forge.repository"),
            (
                "[policy]\ngate = 'forgejo'\n[forge]\nrepository = 'a/b'",
                "needs forge.url",
            ),
            ("[forge]\nrepository = 'https://f/a/b'", "not of the form owner/name"),
            (
                "[ops_repo]\nremote = '/srv/ops'\n[policy]\nfile = '/srv/ops/p.toml'",
                "policy.file is inside",
            ),
            ("[formulas]\npath = '.disinto/ops.git/x'", "formulas.path is inside the ops repo"),
            (
                "[ops_repo]\nremote = '/srv/ops'\n[signed]\nallowed_signers = '/srv/ops/keys'",
                "signed.allowed_signers is inside the ops repo",
            ),
            ("[http]\nlisten = '8480'", "not host:port"),
            ("[http]\nlisten = 'localhost:99999'", "not host:port"),
            ("[limits.formulas]\nhello = 0", "must be at least 1"),
            ("[limits]\nmax_action_bytes = 65537", "must be more than 0, at most 65,536"),
            ('[policy]\nfile = "a\\u0000b"', "NUL"),
            ("[http]\nlisten = 1979-05-27", "http.listen must not be a date or time"),
            ("[archive]\nafter_days = inf", "after_days must be"),
        ],
    )
    def test_contradictions_are_told_with_a_place(
        self, tmp_path: Path, text: str, words: str
    ) -> None:
        (problem,) = told(tmp_path, text)
        assert words in problem
        assert problem[0].isdigit()

    def test_stacks_have_a_limit_of_their_own_unless_another_is_set(self, tmp_path: Path) -> None:
        assert load(tmp_path, "").limits.formulas == {"stack": 8}
        text = "[limits.formulas]\nhello = 2"
        assert load(tmp_path, text).limits.formulas == {"stack": 8, "hello": 2}
        assert load(tmp_path, f"{text}\nstack = 9").limits.formulas == {"stack": 9, "hello": 2}

    def test_a_gate_with_all_it_needs_is_fine(self, tmp_path: Path) -> None:
        forge = "[policy]\ngate='forgejo'\n[forge]\nurl='https://f.example'\nrepository='a/b'"
        assert load(tmp_path, forge).policy.gate is GateKind.FORGEJO
        signed = "[policy]\ngate='signed'\n[signed]\nallowed_signers='signers'"
        assert load(tmp_path, signed).signed.allowed_signers == tmp_path / "signers"


values = st.sampled_from(
    ["1", "'x'", "true", "[]", "{}", "nan", "1979-05-27", "['a', 1]", "{ ssh = 1 }", "-1", "''"]
)
KEYS = """
    state_dir vault vault.addr nomad.cpu_mhz local.mounts local agent.command http.listen
    limits.formulas policy.gate ops_repo.remote x.y
"""


@given(
    lines=st.dictionaries(st.sampled_from(KEYS.split()), values, max_size=4),
    variable=st.text(max_size=20),
)
def test_any_file_and_variable_give_settings_or_invalid_input(
    tmp_path_factory: pytest.TempPathFactory, lines: dict[str, str], variable: str
) -> None:
    folder = tmp_path_factory.getbasetemp() / "any"
    text = "\n".join(f"{key} = {value}" for key, value in lines.items())
    with contextlib.suppress(InvalidInput):
        load(folder, text, DISINTO_LOCAL__MOUNTS=variable, DISINTO_NOMAD__PRIORITY=variable)
