"""What a deploy works with: the application, its files, and the adapters, made once per deploy."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, replace

from dispatcher.release.application import Application
from dispatcher.release.checkout import Checkout
from dispatcher.release.commands import Commands, base_environment
from dispatcher.release.deploy_env import VERSION
from dispatcher.release.env_copies import EnvCopies
from dispatcher.release.env_file import values
from dispatcher.release.health import Get, HealthCheck
from dispatcher.release.layout import Layout
from dispatcher.release.lock import Lock
from dispatcher.release.log import Log
from dispatcher.release.records import Records
from dispatcher.release.settings import ReleaseSettings
from dispatcher.release.units import Units
from dispatcher.release.venvs import Venvs


@dataclass(frozen=True, kw_only=True, slots=True)
class Deployment:
    """The parts of one deploy."""

    settings: ReleaseSettings
    layout: Layout
    run_smoke: bool
    records: Records
    log: Log
    commands: Commands
    checkout: Checkout
    venvs: Venvs
    env: EnvCopies
    units: Units
    health: HealthCheck

    @classmethod
    def of(
        cls,
        application: Application,
        units: Units,
        *,
        lock: Lock | None,
        echo: Callable[[str], None],
        get: Get,
    ) -> Deployment:
        """The parts for an application.

        Raises:
            Damaged: it is unknown which commit is safe.
        """
        settings, layout = application.settings, application.layout
        records = Records(layout)
        env = EnvCopies(settings, layout)
        log = Log(layout.log, env.files(records.safe_commit()), echo)
        commands = Commands(log, lock, mark=layout.root)
        return cls(
            settings=settings,
            layout=layout,
            run_smoke=application.run_smoke,
            records=records,
            log=log,
            commands=commands,
            checkout=Checkout(settings, layout, commands),
            venvs=Venvs(settings, layout, commands),
            env=env,
            units=units,
            health=HealthCheck(settings=settings, units=units, get=get),
        )

    def without(self, services: Collection[str]) -> Deployment:
        """The same, but for some services."""
        rest = {name: each for name, each in self.settings.services.items() if name not in services}
        settings = self.settings.model_copy(update={"services": rest})
        return replace(
            self,
            settings=settings,
            venvs=Venvs(settings, self.layout, self.commands),
            env=EnvCopies(settings, self.layout),
            health=HealthCheck(settings=settings, units=self.units, get=self.health.get),
        )

    def run(
        self,
        command: str,
        *,
        service: str,
        commit: str,
        version: str,
        timeout_s: float,
        more: dict[str, str] | None = None,
    ) -> None:
        """Run a command of release.toml as a service would run: in its directory, with its environment
        of that commit and the variables of its env file.

        Raises:
            CommandFailed: it did not succeed.
        """
        venv = self.venvs.path(commit, service)
        environ = base_environment()
        path = f"{venv / 'bin'}:{environ.get('PATH', '/usr/local/bin:/usr/bin:/bin')}"
        file = self.layout.env_files[service]
        text = file.read_text("utf-8", "surrogateescape") if file.exists() else ""
        environ |= values(text) | {"PATH": path, "VIRTUAL_ENV": str(venv), VERSION: version}
        self.commands.shell(
            command,
            cwd=self.layout.source / self.settings.services[service].directory,
            environ=environ | (more or {}),
            timeout_s=timeout_s,
        )
