"""release.toml and deploy.env: what they may hold, and how a mistake is reported."""

from __future__ import annotations

from pathlib import Path

import pytest

from dispatcher.errors import InvalidSettings, Misconfigured
from dispatcher.release.application import Application, read, root_of
from dispatcher.release.env_file import values

MINIMAL = """\
app = "shop"
remote = "https://forge.example/team/shop.git"

[services.backend]
directory = "backend"

[services.worker]
"""


def application(root: Path, release: str = MINIMAL, env: str | None = None) -> Application:
    root.mkdir(exist_ok=True)
    (root / "release.toml").write_text(release)
    if env is not None:
        (root / "deploy.env").write_text(env)
    return read(root)


def problem_of(root: Path, release: str = MINIMAL, env: str | None = None) -> str:
    with pytest.raises(InvalidSettings) as caught:
        application(root, release, env)
    return str(caught.value).replace(f"{root}/", "")


def test_the_layout_is_that_of_the_seed(tmp_path: Path) -> None:
    app = application(tmp_path)
    layout = app.layout
    assert layout.source == tmp_path / "src"
    assert layout.env_files == {
        "backend": tmp_path / "env" / "backend.env",
        "worker": tmp_path / "env" / "worker.env",
    }
    assert layout.safe_commit == tmp_path / "run" / "SAFE_COMMIT"
    assert dict(app.settings.units) == {
        "backend": "shop-backend.service",
        "worker": "shop-worker.service",
    }
    assert layout.deploy_timer == "shop-deploy.timer"
    assert not app.run_smoke


def test_deploy_env_overrides(tmp_path: Path) -> None:
    text = MINIMAL + '\n[smoke]\ncommand = "true"\nservice = "backend"\n'
    env = "# paths\nENV_BACKEND_FILE='/etc/shop/b.env'\nREPO_ROOT=checkout\nDEPLOY_RUN_SMOKE=0\n"
    app = application(tmp_path, text, env)
    assert app.layout.env_files["backend"] == Path("/etc/shop/b.env")
    assert app.layout.env_files["worker"] == tmp_path / "env" / "worker.env"
    assert app.layout.source == tmp_path / "checkout"
    assert not app.run_smoke
    assert application(tmp_path, text, "DEPLOY_RUN_SMOKE=1\n").run_smoke
    assert application(tmp_path, text, "").run_smoke


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ('barnch = "x"\n' + MINIMAL, 'release.toml:1:1: unknown key "barnch". Did you mean "branch"?'),
        (MINIMAL.replace('"shop"', '"Shop"', 1), "release.toml:1:7: not a name. Use lower-case"),
        (MINIMAL.replace('"backend"\n', '"../x"\n'), "release.toml:5:13: the path leaves the checkout"),
        (MINIMAL + 'unit = "a;b"\n', "release.toml:8:8: not the name of a service unit"),
        (MINIMAL.replace("https://", "https://me:pw@"), "release.toml:2:10: the remote contains a password"),
        (MINIMAL.replace('"https://forge.example/team/shop.git"', '"--upload-pack=x"'), "release.toml:2:10: not a remote"),
        (MINIMAL + '\n[smoke]\ncommand = "x"\nservice = "front"\n', "release.toml:11:11: unknown service front. Services here: backend, worker"),
        ('branch = "--x"\n' + MINIMAL, "release.toml:1:10: not the name of a branch"),
        ('app = "shop"\nremote = "x"\n', "services is missing"),
        (MINIMAL + 'unit = "shop-backend.service"\n', "have the same unit shop-backend.service"),
        (MINIMAL + '\n[migrations]\ncommand = "x"\nservice = "backend"\ndown = "y"\n', "release.toml:12:8: down without revision"),
    ],
)  # fmt: skip
def test_mistakes_in_release_toml(changed: str, told: str, tmp_path: Path) -> None:
    assert told in problem_of(tmp_path, changed)


@pytest.mark.parametrize(
    ("env", "told"),
    [
        (
            "\nENV_BAKEND_FILE=x\n",
            'deploy.env:2: unknown key ENV_BAKEND_FILE. Did you mean "ENV_BACKEND_FILE"?',
        ),
        ("export REPO_ROOT=x\n", "deploy.env:1: not an assignment. Write NAME=VALUE, without"),
        ("DEPLOY_RUN_SMOKE=maybe\n", "deploy.env:1: DEPLOY_RUN_SMOKE is neither 1 nor 0"),
        ("REPO_ROOT=\n", "deploy.env:1: REPO_ROOT is empty"),
    ],
)
def test_mistakes_in_deploy_env(env: str, told: str, tmp_path: Path) -> None:
    assert told in problem_of(tmp_path, env=env)


def test_no_message_shows_a_value(tmp_path: Path) -> None:
    assert "hunter2" not in problem_of(tmp_path, env="PASSWORD=hunter2\nDEPLOY RUN=hunter2\n")


def test_which_application(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match=r"no release\.toml"):
        root_of(None, None, parent=tmp_path)
    application(tmp_path / "shop")
    assert root_of(None, None, parent=tmp_path) == tmp_path / "shop"
    application(tmp_path / "wiki")
    with pytest.raises(Misconfigured, match=r"several applications in .*: shop, wiki"):
        root_of(None, None, parent=tmp_path)
    assert root_of("wiki", None, parent=tmp_path) == tmp_path / "wiki"


def test_env_files_are_read_as_systemd_does() -> None:
    text = 'A=1\n# c\n; d\n B = two words \nC="x \\"y\\""\nnonsense\nD=\'a\\b\'\nE=a=b\n'
    assert values(text) == {"A": "1", "B": "two words", "C": 'x "y"', "D": "a\\b", "E": "a=b"}
