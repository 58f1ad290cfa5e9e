"""Installing and uninstalling a release, on a directory in place of a machine."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from dispatcher.errors import Conflict
from dispatcher.release import manifest
from dispatcher.release.install import Installer, Uninstaller
from dispatcher.release.installation import (
    Account,
    Directory,
    File,
    Installation,
)
from dispatcher.release.system import System, SystemFailed, distrust

SELF = (os.getuid(), os.getgid())
UNIT = Path("/etc/systemd/system/shop-deploy.timer")
SERVICE = Path("/etc/systemd/system/shop-deploy.service")
HOOK = Path("/etc/systemd/system/shop-deployhook.service")
SUDOERS = Path("/etc/sudoers.d/disinto-shop")


class FakeMachine(System):
    """A directory as the file system; users and units are lists."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.users: set[str] = set()
        self.running: set[str] = set()
        self.calls: list[str] = []
        self.active: dict[str, str] = {}
        self.problem: str | None = None

    def ids(self, name: str) -> tuple[int, int] | None:
        return SELF if name in self.users else None

    def create_user(self, account: Account) -> None:
        self.users.add(account.name)

    def remove_user(self, name: str) -> None:
        self.users.remove(name)

    def sudoers_problem(self, text: str) -> str | None:
        return self.problem

    def systemctl(self, *words: str) -> None:
        self.calls.append(" ".join(words))
        if words[0] == "restart":
            self.running.add(words[1])
        if words[0] == "disable":
            self.running.discard(words[-1])

    def property(self, unit: str, name: str) -> str:
        return self.active.get(unit, "inactive")

    def started(self, unit: str) -> bool:
        return unit in self.running


@pytest.fixture
def machine(tmp_path: Path) -> FakeMachine:
    for each in (UNIT.parent, SUDOERS.parent, Path("/var/lib"), Path("/opt/shop")):
        (tmp_path / each.relative_to("/")).mkdir(parents=True)
    return FakeMachine(tmp_path)


def wanted(*, app: str = "shop", hook: bool = False, text: str = "[Timer]\n") -> Installation:
    files = [
        File(kind="unit", path=UNIT, text=text, mode=0o644),
        File(kind="unit", path=SERVICE, text="[Service]\n", mode=0o644),
        File(kind="sudoers file", path=SUDOERS, text="deploy ALL=ok\n", mode=0o440),
    ]
    if hook:
        files.append(File(kind="unit", path=HOOK, text="[Service]\n", mode=0o644))
    if app != "shop":
        files = []
    return Installation(
        app=app,
        account=Account(name="deploy", home=Path("/var/lib/deploy")),
        directories=(
            Directory(path=Path(f"/opt/{app}/src"), mode=0o755),
            Directory(path=Path(f"/opt/{app}/env"), mode=0o750),
        ),
        env_files=(Path(f"/opt/{app}/env/backend.env"),),
        files=tuple(files),
        started=((UNIT.name, HOOK.name) if hook else (UNIT.name,)) if files else (),
        commands=(),
        program=Path("/opt/disinto/bin/disinto"),
    )


def install(machine: FakeMachine, what: Installation) -> list[str]:
    """Install; returns what changed, for comparison."""
    installer = Installer(what, machine)
    tasks = installer.tasks()
    installer.apply(tasks)
    return [f"{t.change.step} {t.change.kind} {t.change.name}" for t in tasks if t.change.name]


def uninstall(machine: FakeMachine, app: str = "shop") -> list[str]:
    """Uninstall; returns what was kept."""
    made = manifest.read(machine, app)
    assert made is not None
    uninstaller = Uninstaller(made, machine)
    uninstaller.apply(uninstaller.tasks())
    return uninstaller.kept


def tree(machine: FakeMachine) -> set[str]:
    root = machine.at(Path("/"))
    return {str(each.relative_to(root)) for each in root.rglob("*")}


def test_uninstalling_leaves_the_machine_as_it_was(machine: FakeMachine) -> None:
    before = tree(machine)
    changes = install(machine, wanted(hook=True))
    assert changes == [
        "create user deploy",
        "create directory /opt/shop/src",
        "create directory /opt/shop/env",
        f"create unit {UNIT}",
        f"create unit {SERVICE}",
        f"create sudoers file {SUDOERS}",
        f"create unit {HOOK}",
        f"update unit state {UNIT.name}",
        f"update unit state {HOOK.name}",
    ]
    assert machine.at(SUDOERS).stat().st_mode & 0o777 == 0o440
    assert machine.running == {UNIT.name, HOOK.name}
    assert uninstall(machine) == []
    assert tree(machine) == before
    assert (machine.users, machine.running) == (set(), set())


def test_installing_again_changes_nothing(machine: FakeMachine) -> None:
    install(machine, wanted())
    machine.calls.clear()
    assert install(machine, wanted()) == []
    assert machine.calls == []


def test_what_differs_is_shown_line_by_line_before_it_is_written(machine: FakeMachine) -> None:
    install(machine, wanted())
    machine.at(UNIT).write_text("[Timer]\nOnBootSec=1h\n")
    (machine.at(Path("/opt/shop/src"))).chmod(0o777)
    tasks = Installer(wanted(), machine).tasks()
    shown = {task.change.name: task.change.difference for task in tasks if task.change.name}
    assert "-OnBootSec=1h" in shown[str(UNIT)]
    assert shown["/opt/shop/src"][1] == "+ deploy:deploy 0755"
    assert machine.at(UNIT).read_text() == "[Timer]\nOnBootSec=1h\n"
    install(machine, wanted())
    assert machine.at(UNIT).read_text() == "[Timer]\n"
    assert machine.calls[-2:] == [f"enable --quiet {UNIT.name}", f"restart {UNIT.name}"]


def test_a_unit_that_is_no_longer_wanted_is_stopped_and_removed(machine: FakeMachine) -> None:
    install(machine, wanted(hook=True))
    assert install(machine, wanted()) == [f"delete unit {HOOK}"]
    assert HOOK.name not in machine.running
    assert not machine.at(HOOK).exists()
    assert install(machine, wanted()) == []


def test_a_file_of_somebody_else_is_not_replaced(machine: FakeMachine) -> None:
    machine.at(UNIT).write_text("[Timer]\n# by hand\n")
    with pytest.raises(Conflict, match="did not write it"):
        Installer(wanted(), machine).tasks()


def test_an_invalid_sudoers_file_is_not_written(machine: FakeMachine) -> None:
    machine.problem = "line:1: syntax error"
    with pytest.raises(SystemFailed, match="would not be valid: line:1"):
        Installer(wanted(), machine).tasks()
    assert not machine.at(SUDOERS).exists()


def test_what_was_changed_or_filled_since_is_kept(machine: FakeMachine) -> None:
    install(machine, wanted())
    machine.at(UNIT).write_text("[Timer]\n# by hand\n")
    machine.at(Path("/opt/shop/env/backend.env")).write_text("A=1\n")
    assert uninstall(machine) == [
        f"{UNIT}: it was changed by hand",
        "/opt/shop/env: it is not empty",
    ]
    assert machine.at(Path("/opt/shop/env/backend.env")).read_text() == "A=1\n"
    assert not machine.at(SUDOERS).exists()


def test_a_user_that_was_there_before_stays(machine: FakeMachine) -> None:
    machine.users.add("deploy")
    install(machine, wanted())
    assert uninstall(machine) == []
    assert machine.users == {"deploy"}


def test_a_user_that_two_applications_share_goes_with_the_last(machine: FakeMachine) -> None:
    machine.at(Path("/opt/other")).mkdir()
    install(machine, wanted())
    install(machine, wanted(app="other"))
    assert uninstall(machine) == ["user deploy: still used by other"]
    assert machine.users == {"deploy"}
    assert uninstall(machine, "other") == []
    assert machine.users == set()


def test_a_deploy_whose_unit_failed_can_be_uninstalled(machine: FakeMachine) -> None:
    """systemd cleans no unit that is failed."""
    install(machine, wanted())
    machine.active[SERVICE.name] = "failed"
    assert uninstall(machine) == []
    calls = [call for call in machine.calls if call.endswith(SERVICE.name)]
    assert calls == [f"reset-failed {SERVICE.name}", f"clean --what=cache {SERVICE.name}"]


@pytest.mark.parametrize("state", ["activating", "deactivating"])
def test_nothing_is_uninstalled_under_a_deploy(machine: FakeMachine, state: str) -> None:
    install(machine, wanted())
    machine.active[SERVICE.name] = state
    with pytest.raises(Conflict, match="a deploy runs"):
        uninstall(machine)
    assert UNIT.name not in machine.running, "nothing starts another"
    machine.active.clear()
    assert uninstall(machine) == []


def test_an_interrupted_installation_can_be_undone(machine: FakeMachine) -> None:
    before = tree(machine)
    installer = Installer(wanted(), machine)
    tasks = installer.tasks()

    def fail() -> None:
        raise RuntimeError

    with pytest.raises(RuntimeError):
        installer.apply([*tasks[:4], replace(tasks[4], carry_out=fail)])
    assert uninstall(machine) == []
    assert tree(machine) == before
    assert machine.users == set()


@pytest.mark.parametrize("kind", ["symbolic link", "hard link", "pipe"])
def test_root_gives_away_no_other_file(machine: FakeMachine, tmp_path: Path, kind: str) -> None:
    """The deploy user owns the directory of the env files."""
    machine.users.add("deploy")
    install(machine, wanted())
    shadow, file = tmp_path / "shadow", machine.at(Path("/opt/shop/env/backend.env"))
    shadow.write_text("root:*")
    shadow.chmod(0o600)
    if kind == "symbolic link":
        file.symlink_to(shadow)
    elif kind == "hard link":
        file.hardlink_to(shadow)
    else:
        os.mkfifo(file)
    with pytest.raises(SystemFailed, match=r"symbolic link|regular file"):
        install(machine, wanted())
    assert shadow.stat().st_mode & 0o777 == 0o600


def test_no_link_is_followed_when_an_owner_is_set(tmp_path: Path) -> None:
    """The deploy user may put one there after it was examined."""
    other, link = tmp_path / "shadow", tmp_path / "backend.env"
    other.write_text("root:*")
    other.chmod(0o600)
    link.symlink_to(other)
    with pytest.raises(SystemFailed, match="Too many levels of symbolic links"):
        System().give(link, SELF, 0o644)
    link.unlink()
    link.symlink_to(tmp_path)
    directory = Directory(path=link, mode=0o777)
    with pytest.raises(SystemFailed):
        System().make_directory(directory, SELF)
    assert other.stat().st_mode & 0o777 == 0o600


def test_what_others_may_change_is_not_trusted(tmp_path: Path) -> None:
    trusted = frozenset({0, os.getuid()})
    file = tmp_path / "release.toml"
    file.write_text("")
    assert distrust(file, trusted=trusted) is None
    file.chmod(0o666)
    assert distrust(file, trusted=trusted) == f"{file} can be written by others (mode 0666)"
    file.chmod(0o644)
    tmp_path.chmod(0o777)
    assert "can be written by others" in str(distrust(file, trusted=trusted))
    assert "belongs to" in str(distrust(file, trusted=frozenset({os.getuid() + 1})))
