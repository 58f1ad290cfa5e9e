"""Where the files of an application are, and what its units are called."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from dispatcher.release import deploy_env, settings

PARENT = Path("/opt")
"""Where ``--app NAME`` looks for the root: ``/opt/NAME``."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Layout:
    """The paths and unit names of one application.

    Attributes:
        root: directory of the application, ``/opt/<app>``.
        app: its name.
        source: the checkout; ``src`` unless REPO_ROOT names another.
        env_files: env file of each service; ``env/<service>.env`` unless deploy.env names another.
    """

    root: Path
    app: str
    source: Path
    env_files: Mapping[str, Path]

    @property
    def release_file(self) -> Path:
        return self.root / settings.FILE

    @property
    def deploy_env(self) -> Path:
        return self.root / deploy_env.FILE

    @property
    def env(self) -> Path:
        """Env files of the services. The deploy user may write here: a failed deploy restores them."""
        return self.root / "env"

    @property
    def run(self) -> Path:
        """State of the deploys."""
        return self.root / "run"

    @property
    def logs(self) -> Path:
        return self.root / "logs"

    @property
    def log(self) -> Path:
        return self.logs / "deploy.log"

    @property
    def venvs(self) -> Path:
        """``venv/<service>`` is a link to the environment of the commit that is deployed."""
        return self.root / "venv"

    @property
    def built_venvs(self) -> Path:
        """``<commit>/<service>``: the environments that are kept."""
        return self.venvs / ".commits"

    @property
    def safe_commit(self) -> Path:
        """The commit to return to, as 40 hexadecimal digits and a line end."""
        return self.run / "SAFE_COMMIT"

    @property
    def lock(self) -> Path:
        """Locked by flock(2) for as long as a deploy runs."""
        return self.run / "deploy.lock"

    @property
    def requested(self) -> Path:
        """Exists if a deploy was requested since the last one fetched."""
        return self.run / "deploy.requested"

    @property
    def version_file(self) -> Path:
        """APP_VERSION of the deployed commit: an ``EnvironmentFile=`` of the units."""
        return self.run / "version.env"

    @property
    def directories(self) -> tuple[Path, ...]:
        """The directories that an installation creates, and that the deploy user owns."""
        return (self.env, self.run, self.logs, self.venvs)

    @property
    def deploy_service(self) -> str:
        return f"{self.app}-deploy.service"

    @property
    def deploy_timer(self) -> str:
        return f"{self.app}-deploy.timer"

    @property
    def deploy_path(self) -> str:
        """The unit that starts the deploy when the webhook requests it."""
        return f"{self.app}-deploy.path"

    @property
    def webhook_service(self) -> str:
        return f"{self.app}-deployhook.service"
