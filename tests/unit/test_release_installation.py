"""What an installation of a release consists of: the texts that root reads."""

from __future__ import annotations

import io
from pathlib import Path
from types import SimpleNamespace

import pytest

from dispatcher.errors import InvalidSettings, Misconfigured
from dispatcher.release.installation import Installation, installation
from dispatcher.release.webhook import STDIN, request, secret_of
from tests.unit.test_release_settings import MINIMAL, application

HOOKED = MINIMAL.replace("[services.backend]", "[webhook]\n\n[services.backend]")
PROGRAM = Path("/opt/disinto/bin/disinto")


def installed(root: Path, release: str = MINIMAL, env: str | None = None) -> Installation:
    return installation(application(root, release, env), disinto=PROGRAM)


def text(made: Installation, name: str) -> str:
    (found,) = [file.text for file in made.files if file.path.name == name]
    return found


def test_the_deploy_user_may_run_the_commands_of_the_services_and_no_other(tmp_path: Path) -> None:
    made = installed(tmp_path)
    sudoers = text(made, "disinto-shop")
    granted = [line for line in sudoers.splitlines() if not line.startswith("#")]
    assert "\n".join(granted) == (
        "Cmnd_Alias DISINTO_SHOP = /usr/bin/systemctl restart shop-backend.service, \\\n"
        "    /usr/bin/systemctl stop shop-backend.service, \\\n"
        "    /usr/bin/systemctl reset-failed shop-backend.service, \\\n"
        "    /usr/bin/systemctl restart shop-worker.service, \\\n"
        "    /usr/bin/systemctl stop shop-worker.service, \\\n"
        "    /usr/bin/systemctl reset-failed shop-worker.service\n"
        "Defaults!DISINTO_SHOP env_reset, !env_keep, !env_check, !setenv, !requiretty, !pam_session, "
        'secure_path="/usr/sbin:/usr/bin:/sbin:/bin"\n'
        "deploy ALL=(root:root) NOPASSWD: NOSETENV: DISINTO_SHOP"
    )
    assert len(made.commands) == 6


def test_without_a_webhook_there_is_no_unit_for_it(tmp_path: Path) -> None:
    plain, hooked = installed(tmp_path / "a"), installed(tmp_path / "b", HOOKED)
    assert plain.started == ("shop-deploy.timer",)
    assert "ExecStartPre" not in text(plain, "shop-deploy.service")
    assert hooked.started == ("shop-deploy.timer", "shop-deploy.path", "shop-deployhook.service")
    watched = "/run/shop-deployhook/requested"
    assert f"PathExists={watched}\n" in text(hooked, "shop-deploy.path")
    assert f"-- {watched}\n" in text(hooked, "shop-deploy.service")


def test_the_webhook_of_the_loopback_talks_to_nobody_else(tmp_path: Path) -> None:
    anywhere = HOOKED.replace("[webhook]", '[webhook]\nlisten = "0.0.0.0:9009"')
    near, far = installed(tmp_path / "a", HOOKED), installed(tmp_path / "b", anywhere)
    assert "IPAddressDeny=any" in text(near, "shop-deployhook.service")
    assert "IPAddressDeny" not in text(far, "shop-deployhook.service")


def test_the_deploy_writes_in_its_directories_alone(tmp_path: Path) -> None:
    release = f'writable = ["/var/lib/shop"]\n{MINIMAL}'
    unit = text(installed(tmp_path, release), "shop-deploy.service")
    assert "ProtectSystem=strict\n" in unit
    writable = [line.partition("=")[2] for line in unit.splitlines() if "ReadWritePaths" in line]
    inside = [f"{tmp_path}/{name}" for name in ("src", "env", "run", "logs", "venv")]
    assert writable == ["-/var/lib/deploy", *inside, "/var/lib/shop"]


def test_what_is_outside_the_root_is_left_to_the_operator(tmp_path: Path) -> None:
    made = installed(tmp_path, env="REPO_ROOT=/srv/shop\nENV_WORKER_FILE=/etc/shop.env\n")
    assert Path("/srv/shop") not in [each.path for each in made.directories]
    assert made.env_files == (tmp_path / "env" / "backend.env",)
    assert "ReadWritePaths=/srv/shop\n" in text(made, "shop-deploy.service")


@pytest.mark.parametrize(
    "release",
    [
        MINIMAL.replace("[services.worker]", '[services.worker]\nunit = "shop-deploy.service"'),
        MINIMAL.replace("[services.worker]", "[services.deployhook]"),
        f'writable = ["/var/../etc"]\n{MINIMAL}',
        f'writable = ["/srv/a b"]\n{MINIMAL}',
        f'user = "deploy ALL"\n{MINIMAL}',
        MINIMAL.replace("[services.worker]", '[services.worker]\nunit = "a.service, ALL"'),
        MINIMAL.replace("[services.worker]", '[services.worker]\nunit = "*.service"'),
        HOOKED.replace("[webhook]", '[webhook]\nlisten = "127.0.0.1:9009\\nUser=root"'),
    ],
)
def test_nothing_that_root_reads_can_be_smuggled_in(tmp_path: Path, release: str) -> None:
    with pytest.raises(InvalidSettings):
        installed(tmp_path, release)


@pytest.mark.parametrize("name", ["with space", "new\nline", "per%cent", "quo'te"])
def test_a_path_that_a_unit_would_read_otherwise_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(Misconfigured, match="cannot be written into a unit"):
        installed(tmp_path / name)


def test_the_secret_is_that_of_the_backend(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    app = application(tmp_path, HOOKED)
    (tmp_path / "env").mkdir()
    backend = tmp_path / "env" / "backend.env"
    with pytest.raises(Misconfigured, match=r"backend\.env: No such file"):
        secret_of(app)
    backend.write_text("DB=x\nSHOP_WEBHOOK_SECRET=\n")
    with pytest.raises(Misconfigured, match=r"backend\.env has no SHOP_WEBHOOK_SECRET"):
        secret_of(app)
    backend.write_text("SHOP_WEBHOOK_SECRET='0123456789abcdef'\n")
    assert secret_of(app) == b"0123456789abcdef"
    given = SimpleNamespace(buffer=io.BytesIO(b"SHOP_WEBHOOK_SECRET=of standard input\n"))
    monkeypatch.setattr("sys.stdin", given)
    assert secret_of(app, STDIN) == b"of standard input"


def test_a_request_is_an_empty_file_in_the_directory_of_the_unit(tmp_path: Path) -> None:
    for _ in range(2):
        request("shop", {"RUNTIME_DIRECTORY": str(tmp_path)})
    assert [(each.name, each.read_bytes()) for each in tmp_path.iterdir()] == [("requested", b"")]


def test_a_request_follows_no_link(tmp_path: Path) -> None:
    (tmp_path / "requested").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="Too many levels"):
        request("shop", {"RUNTIME_DIRECTORY": str(tmp_path)})
