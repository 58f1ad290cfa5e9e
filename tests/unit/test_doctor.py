"""``disinto doctor`` where a component cannot even be opened: that is a failed check, and the others follow."""

from __future__ import annotations

import http.server
import os
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from dispatcher.assembly import doctor_openers
from dispatcher.model.checks import Check
from dispatcher.operate.doctor import diagnose
from dispatcher.settings import settings_model

NO_SERVER = "http://127.0.0.1:1"


def checks(
    tmp_path: Path, sections: Mapping[str, Mapping[str, str]], *, read_only: bool
) -> dict[str, Check]:
    given = {"state_dir": str(tmp_path), **sections}
    given["vault"] = {"addr": NO_SERVER, **sections.get("vault", {})}
    settings = settings_model().model_validate(given)
    openers = doctor_openers(settings, {})
    return {each.name: each for each in diagnose(settings, openers, {}, read_only=read_only)}


@pytest.mark.parametrize("read_only", [False, True], ids=["command", "page"])
@pytest.mark.parametrize(
    ("sections", "name", "detail", "remedy"),
    [
        ({"vault": {"cacert": "/nowhere.pem"}}, "vault", "/nowhere.pem", "[vault] cacert"),
        ({"ops_repo": {"remote": "ftp://x/y"}}, "ops repo", "[ops_repo] remote", "https://"),
        ({}, "ops repo", "no remote is configured", "[ops_repo] remote"),
    ],
    ids=["no CA file", "unknown transport", "no remote"],
)
def test_what_cannot_be_opened_fails_a_check_with_its_setting_and_remedy(
    tmp_path: Path,
    sections: Mapping[str, Mapping[str, str]],
    name: str,
    detail: str,
    remedy: str,
    read_only: bool,
) -> None:
    found = checks(tmp_path, sections, read_only=read_only)
    check = found[name]
    assert not check.ok
    assert detail in check.detail
    assert remedy in check.remedy
    assert "webhook" in found, "which is one of the last"


def test_without_vault_the_ops_repo_is_checked_all_the_same(tmp_path: Path) -> None:
    nowhere = str(tmp_path / "nowhere.git")
    sections = {"vault": {"cacert": "/nowhere.pem"}, "ops_repo": {"remote": nowhere}}
    found = checks(tmp_path, sections, read_only=False)
    assert nowhere in found["ops repo"].detail


def test_a_state_directory_that_cannot_be_reached_fails_a_check(tmp_path: Path) -> None:
    """As below a directory of another user; here the name is too long."""
    found = checks(tmp_path / ("x" * 300), {}, read_only=False)
    check = found["state directory"]
    assert not check.ok
    assert "x cannot be reached: " in check.detail
    assert "state_dir" in check.remedy
    assert not found["ledger"].ok
    assert "webhook" in found


@contextmanager
def as_another_user() -> Iterator[None]:
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user")
@pytest.mark.parametrize("read_only", [False, True], ids=["command", "page"])
def test_a_ca_file_in_a_directory_of_another_user(read_only: bool) -> None:
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        folder.chmod(0o755)
        (folder / "state").mkdir()
        (folder / "state").chmod(0o777)
        (folder / "private").mkdir(mode=0o700)
        (folder / "private" / "ca.pem").write_text("x")
        sections = {"vault": {"cacert": str(folder / "private" / "ca.pem")}}
        with as_another_user():
            found = checks(folder / "state", sections, read_only=read_only)
    assert not found["vault"].ok
    assert "webhook" in found


class Answers(http.server.BaseHTTPRequestHandler):
    body = b""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("content-length", str(len(self.body)))
        self.end_headers()
        self.wfile.write(self.body)

    do_POST = do_LIST = do_PUT = do_GET  # noqa: N815

    def log_message(self, *_: object) -> None:
        pass


@pytest.mark.parametrize("body", [b"", b"{}", b'{"data": null}'])
@pytest.mark.parametrize("read_only", [False, True], ids=["command", "page"])
def test_another_server_in_the_place_of_vault(
    tmp_path: Path, body: bytes, read_only: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Answers, "body", body)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    token = tmp_path / "token"
    token.write_text("t")
    try:
        sections = {
            "vault": {"addr": f"http://127.0.0.1:{server.server_port}", "token_file": str(token)}
        }
        found = checks(tmp_path, sections, read_only=read_only)
    finally:
        server.shutdown()
        server.server_close()
    assert not found["vault"].ok
    assert "webhook" in found
