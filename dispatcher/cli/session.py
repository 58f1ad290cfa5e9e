"""What all commands of one process share: where the settings are, and what to say at the end."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from dispatcher.errors import DisintoError

if TYPE_CHECKING:
    from dispatcher.settings import Settings
    from dispatcher.status.status_file import Seen


@dataclass(kw_only=True)
class Session:
    """One call of the command line.

    Attributes:
        config: the settings file that ``--config`` named, or None for the usual places.
        on_interrupt: what is said when the user presses Ctrl-C: what goes on without this
            command, or what was left undone.
    """

    config: Path | None = None
    on_interrupt: str = ""

    @cached_property
    def settings(self) -> Settings:
        """The settings, read once.

        Raises:
            InvalidInput, Misconfigured: see ``dispatcher.assembly.open_settings``.
        """
        from dispatcher.assembly import open_settings

        return open_settings(self.config)

    @property
    def file(self) -> Path | None:
        """The settings file, or None if the defaults count."""
        from dispatcher.settings import find_settings

        return find_settings(self.config, os.environ)

    def on_host(self, command: str) -> Settings:
        """The settings, for a command that only makes sense where ``serve`` runs.

        Raises:
            Misconfigured: this is an author client.
            InvalidInput: see ``settings``.
        """
        from dispatcher.assembly import refuse_author

        refuse_author(self.settings, f"'disinto {command}'")
        return self.settings

    @property
    def is_author(self) -> bool:
        """Whether this is an author client, which sees git and the forge alone."""
        from dispatcher.settings import Role

        return self.settings.role is Role.AUTHOR

    def beside_serve(self) -> Seen | None:
        """What a living ``serve`` with the same settings has written down, or None without one.

        The settings are not read for it: the model takes longer to load than a command may take.
        When in doubt this returns None, and reading the settings then reports what is wrong.
        """
        from dispatcher.settings_file import find_settings, state_dir
        from dispatcher.status import status_file

        directory = state_dir(self.config, os.environ)
        status = status_file.read(directory) if directory is not None else None
        if status is None or not status.fresh or status.given is None:
            return None
        try:
            file = find_settings(self.config, os.environ)
            return status if status.given.origin.is_of(file, os.environ) else None
        except (DisintoError, OSError):
            return None

    @property
    def has_settings_file(self) -> bool:
        """Whether the settings are of a file, and not only the defaults and the environment.

        Raises:
            Misconfigured: a file that was named is not there.
        """
        from dispatcher.settings_file import find_settings

        return find_settings(self.config, os.environ) is not None

    @property
    def state_dir(self) -> Path | None:
        """The state directory, where the settings have been read; never reads them."""
        settings: Settings | None = self.__dict__.get("settings")
        return settings.state_dir if settings is not None else None
