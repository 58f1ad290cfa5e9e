"""Mounts of local runs, and what a formula in bubblewrap can reach besides."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

import pytest

from dispatcher.engines.base import CannotSubmit, Stream
from dispatcher.engines.local.spool import Spool
from dispatcher.errors import Misconfigured
from dispatcher.model.mounts import Mount
from tests.contract.scheduler import log
from tests.servers.available import why_missing
from tests.servers.grants import Minter
from tests.support.local_stage import Bench, bench, make_settings, nothing_left

__all__ = ["bench", "nothing_left"]

pytestmark = pytest.mark.needs("bao")


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    folder = tmp_path / "operator" / "ssh"
    folder.mkdir(parents=True)
    (folder / "id").write_text("a private key\n")
    return folder


def test_a_mount_nobody_offers(bench: Bench) -> None:
    with pytest.raises(CannotSubmit, match="not offered") as caught:
        bench.begin("true", mounts=(Mount.SSH,))
    assert caught.value.verdict == "unplaceable"


def test_a_mount_whose_folder_is_gone(minter: Minter, tmp_path: Path) -> None:
    settings = make_settings(tmp_path, mounts={Mount.SSH: tmp_path / "gone"})
    with pytest.raises(CannotSubmit, match="does not exist") as caught:
        Bench(minter, settings).begin("true", mounts=(Mount.SSH,))
    assert caught.value.verdict == "unplaceable"


def test_nothing_starts_while_bubblewrap_cannot_be_used(
    minter: Minter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without it the formula could read the dispatcher's token; a person may mend it meanwhile."""
    program = tmp_path / "bin" / "bwrap"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\nexit 159\n")
    program.chmod(0o755)
    path = os.environ["PATH"]
    monkeypatch.setenv("PATH", f"{program.parent}:{path}")
    bench = Bench(minter, make_settings(tmp_path))
    spec, grant = minter.spec("true"), minter.mint()
    with pytest.raises(Misconfigured, match="cannot be used: it ended with 159"):
        bench.submit(spec, grant)
    assert not Spool(bench.settings.state_dir / "runs", spec.key).exists()
    program.unlink()
    monkeypatch.setenv("PATH", path)
    if shutil.which("bwrap") is None or why_missing("bwrap") is None:
        assert bench.end(bench.submit(spec, grant)).outcome


def test_a_mount_that_cannot_be_protected(minter: Minter, tmp_path: Path, keys: Path) -> None:
    settings = make_settings(tmp_path, mounts={Mount.SSH: keys}, bubblewrap=False)
    with pytest.raises(CannotSubmit, match="allow_unprotected_mounts") as caught:
        Bench(minter, settings).begin("true", mounts=(Mount.SSH,))
    assert caught.value.verdict == "unplaceable"


def test_an_unprotected_mount_where_the_settings_allow_it(
    minter: Minter, tmp_path: Path, keys: Path
) -> None:
    settings = make_settings(
        tmp_path, mounts={Mount.SSH: keys}, bubblewrap=False, allow_unprotected_mounts=True
    )
    bench = Bench(minter, settings)
    claim = bench.begin('cat "$HOME/.ssh/id"', mounts=(Mount.SSH,))
    bench.end(claim)
    assert log(bench.scheduler, claim, Stream.STDOUT) == b"a private key\n"
    assert (keys / "id").read_text() == "a private key\n"  # the link went, not what it led to


@pytest.mark.needs("bwrap")
class TestProtection:
    """What a formula in bubblewrap can do, and what it cannot."""

    @pytest.fixture
    def bench(self, minter: Minter, tmp_path: Path, keys: Path) -> Bench:
        data = tmp_path / "operator" / "data"
        sops = tmp_path / "operator" / "sops"
        for folder in (data, sops):
            folder.mkdir()
        (sops / "keys.txt").write_text("age key\n")
        (tmp_path / "state").mkdir()
        (tmp_path / "state" / "ledger.db").write_text("claims\n")
        token = tmp_path / "operator" / "vault-token"
        token.write_text("the dispatcher's token\n")
        settings = make_settings(
            tmp_path,
            mounts={
                Mount.SSH: keys,
                Mount.SOPS: sops,
                Mount.AGENT_DATA: data,
                Mount.PROJECT_REPOS: tmp_path,  # holds the state directory and all others
            },
        )
        vault = settings.vault.model_copy(update={"token_file": token})
        return Bench(minter, settings.model_copy(update={"vault": vault}))

    def run(self, bench: Bench, formula: str, *mounts: Mount) -> tuple[int, str, str]:
        claim = bench.begin(formula, mounts=mounts)
        outcome = bench.end(claim).outcome
        assert outcome
        out, err = (log(bench.scheduler, claim, stream).decode() for stream in Stream)
        return outcome.exit_code, out, err

    def test_keys_are_read_and_not_written(self, bench: Bench, keys: Path) -> None:
        code, out, err = self.run(
            bench,
            'cat "$HOME/.ssh/id"; touch "$HOME/.ssh/new" && exit 9\n'
            'echo x >> "$HOME/.ssh/id" && exit 9; rm -f "$HOME/.ssh/id" && exit 9; exit 0',
            Mount.SSH,
        )
        assert (code, out) == (0, "a private key\n"), err
        assert err.count("Read-only file system") == 3
        assert [p.name for p in keys.iterdir()] == ["id"]

    def test_data_is_written(self, bench: Bench, tmp_path: Path) -> None:
        code, _, err = self.run(bench, 'echo new > "$HOME/data/file"', Mount.AGENT_DATA)
        assert code == 0, err
        assert (tmp_path / "operator" / "data" / "file").read_text() == "new\n"

    def test_mounts_not_asked_for_are_hidden(
        self, bench: Bench, keys: Path, tmp_path: Path
    ) -> None:
        operator = tmp_path / "operator"
        code, out, err = self.run(
            bench,
            f'cat {keys}/id "$HOME/.ssh/id" {operator}/sops/keys.txt; exit 0',
            Mount.AGENT_DATA,
        )
        assert (code, out) == (0, ""), err

    def test_a_mount_shows_nothing_that_is_hidden(self, bench: Bench) -> None:
        """One offered folder holds the others and the dispatcher's state."""
        code, out, err = self.run(
            bench,
            'cd "$HOME/repos"; cat operator/ssh/id state/ledger.db operator/vault-token\n'
            "ls operator/ssh state; exit 0",
            Mount.PROJECT_REPOS,
        )
        assert code == 0, err
        assert "key" not in out
        assert "claims" not in out
        assert "token" not in out
        assert out == "operator/ssh:\n\nstate:\n"

    @pytest.mark.parametrize(("hide", "seen"), [(True, ""), (False, "a person's key")])
    def test_the_home_of_the_dispatchers_user_is_hidden(
        self, bench: Bench, monkeypatch: pytest.MonkeyPatch, *, hide: bool, seen: str
    ) -> None:
        # Not below /tmp, which a sandboxed formula never sees.
        places = [p for p in (Path(__file__).parent, Path.home()) if p.parts[1:2] != ("tmp",)]
        if not places:
            pytest.skip("there is not a directory to write to outside of /tmp")
        with tempfile.TemporaryDirectory(dir=places[0], prefix="home-") as folder:
            key = Path(folder) / ".ssh" / "id"
            key.parent.mkdir()
            key.write_text("a person's key")
            monkeypatch.setenv("HOME", folder)
            local = bench.settings.local.model_copy(update={"hide_home": hide})
            other = Bench(bench.minter, bench.settings.model_copy(update={"local": local}))
            script = f"cat {key}; exit 0"
            assert self.run(other, script, Mount.AGENT_DATA)[:2] == (0, seen)

    def test_the_state_is_hidden(self, bench: Bench) -> None:
        state = bench.settings.state_dir
        code, out, _ = self.run(
            bench,
            f"cat {state}/ledger.db; ls {state} {state}/runs; touch {state}/x && exit 9\n"
            f"cat {bench.settings.vault.token_file}; exit 0",
        )
        assert code == 0
        assert "claims" not in out
        assert "token" not in out
        assert len(out.split()) <= 4  # the two folders' names, runs, and its own directory
        assert (state / "ledger.db").read_text() == "claims\n"

    def test_other_processes_are_hidden(self, bench: Bench) -> None:
        code, out, err = self.run(
            bench, f"test ! -e /proc/{os.getpid()}/environ && ls -d /proc/[0-9]* | wc -l"
        )
        assert code == 0, err
        assert int(out) < 10

    def test_the_machine_is_read_only(self, bench: Bench) -> None:
        code, _, err = self.run(
            bench,
            "touch /etc/x /usr/x && exit 9; mount -o remount,bind,rw / && exit 9\n"
            'umount "$HOME" && exit 9; echo t > /tmp/t && echo h > "$HOME/h" && echo d > "$TMPDIR/d"',
        )
        assert code == 0, err

    def test_root_cannot_undo_it(self, bench: Bench) -> None:
        state = bench.settings.state_dir
        code, out, _ = self.run(
            bench,
            f"umount -l {state}; umount -l /tmp; cat {state}/ledger.db\n"
            f"unshare -rm bash -c 'umount -l {state}; umount -l /tmp; cat {state}/ledger.db'; exit 0",
        )
        assert (code, out) == (0, "")
