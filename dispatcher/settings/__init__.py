"""Settings: ``disinto.toml``, each key overridable by the environment.

A key ``[vault] token_role`` is overridden by ``DISINTO_VAULT__TOKEN_ROLE``. The customary
variables of Vault, Nomad and git are honoured where a key says so. Secrets are never keys of the
file: tokens come from the environment, from a file with restricted rights, or from Vault.

Relative paths of the file are relative to its directory; those of the environment, as with other
programs, to the current one.
"""

from dispatcher.settings.loading import load_settings, settings_origin
from dispatcher.settings.models import (
    SHORTEST_SECRET,
    AgentSettings,
    AttestationSettings,
    ForgeSettings,
    GateKind,
    GrantSettings,
    OpsRepoSettings,
    Role,
    Settings,
    VaultAuth,
    VaultSettings,
)
from dispatcher.settings.notify import BodyKind, MailTls, NotifySettings, SinkKind
from dispatcher.settings.plain_http import plain_addresses
from dispatcher.settings.web import WebSettings
from dispatcher.settings.whole import credential_files, settings_model
from dispatcher.settings_file import (
    FILE_NAME,
    find_settings,
)

__all__ = [
    "FILE_NAME",
    "SHORTEST_SECRET",
    "AgentSettings",
    "AttestationSettings",
    "BodyKind",
    "ForgeSettings",
    "GateKind",
    "GrantSettings",
    "MailTls",
    "NotifySettings",
    "OpsRepoSettings",
    "Role",
    "Settings",
    "SinkKind",
    "VaultAuth",
    "VaultSettings",
    "WebSettings",
    "credential_files",
    "find_settings",
    "load_settings",
    "plain_addresses",
    "settings_model",
    "settings_origin",
]
