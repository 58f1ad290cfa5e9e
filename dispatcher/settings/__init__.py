"""Settings: ``disinto.toml``, each key overridable by the environment.

A key ``[vault] token_role`` is overridden by ``DISINTO_VAULT__TOKEN_ROLE``. The customary
variables of Vault, Nomad and git are honoured where a key says so. Secrets are never keys of the
file: tokens come from the environment, from a file with restricted rights, or from Vault.

Relative paths of the file are relative to its directory; those of the environment, as with other
programs, to the current one.
"""

from dispatcher.settings.loading import load_settings, settings_origin
from dispatcher.settings.models import (
    AgentSettings,
    ArchiveSettings,
    AttestationSettings,
    ForgeSettings,
    FormulaSettings,
    GateKind,
    GrantSettings,
    HttpSettings,
    LimitSettings,
    OpsRepoSettings,
    PolicySettings,
    Role,
    Settings,
    SignedSettings,
    VaultAuth,
    VaultSettings,
)
from dispatcher.settings.notify import BodyKind, MailTls, NotifySettings, SinkKind
from dispatcher.settings.plain_http import PlainAddress, plain_addresses
from dispatcher.settings.section import PositiveSeconds
from dispatcher.settings.whole import credential_files, settings_model
from dispatcher.settings_file import (
    CONFIG_VARIABLE,
    CUSTOMARY,
    ENV_PREFIX,
    FILE_NAME,
    find_settings,
)

__all__ = [
    "CONFIG_VARIABLE",
    "CUSTOMARY",
    "ENV_PREFIX",
    "FILE_NAME",
    "AgentSettings",
    "ArchiveSettings",
    "AttestationSettings",
    "BodyKind",
    "ForgeSettings",
    "FormulaSettings",
    "GateKind",
    "GrantSettings",
    "HttpSettings",
    "LimitSettings",
    "MailTls",
    "NotifySettings",
    "OpsRepoSettings",
    "PlainAddress",
    "PolicySettings",
    "PositiveSeconds",
    "Role",
    "Settings",
    "SignedSettings",
    "SinkKind",
    "VaultAuth",
    "VaultSettings",
    "credential_files",
    "find_settings",
    "load_settings",
    "plain_addresses",
    "settings_model",
    "settings_origin",
]
