"""``disinto doctor`` and the page's checks on what is not what it should be: failed checks, and all others follow."""

from __future__ import annotations

import http.server
import os
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.unit.test_doctor import checks


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
    assert "webhook" in found
