"""The settings as frozen records: sections, keys, defaults and descriptions."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import TypeVar

from pydantic import Field, field_validator

from dispatcher.settings.derived import derived_request
from dispatcher.settings.dynamic import DynamicSettings
from dispatcher.settings.jobs import JobClassSettings
from dispatcher.settings.notify import MAX_SINKS, NotifySettings
from dispatcher.settings.section import EngineSection, PositiveSeconds, Section, credential
from dispatcher.settings.web import WebSettings
from dispatcher.settings_file import STATE_DIR

EngineSectionT = TypeVar("EngineSectionT", bound=EngineSection)

SHORTEST_SECRET = 16
"""Bytes of a webhook's secret, of those received and of those sent; a shorter one can be guessed."""

STACKS, STACKS_AT_ONCE = "stack", 8
"""A formula, and how many runs of it are in flight at most by default. Dokploy 0.30.2 answers no request any
more, until it is restarted, once it makes ten domains at a moment (docs/stacks.md)."""


class Role(StrEnum):
    """What an installation is for."""

    DISPATCHER = "dispatcher"
    AUTHOR = "author"


class VaultAuth(StrEnum):
    TOKEN = "token"  # noqa: S105 - the name of a method
    APPROLE = "approle"
    JWT = "jwt"


class GateKind(StrEnum):
    NONE = "none"
    SIGNED = "signed"
    FORGEJO = "forgejo"


class OpsRepoSettings(Section):
    """The ops repository and how to reach it."""

    remote: str = Field(
        default="", description="Path, ssh:// or https:// address of the ops repository."
    )
    branch: str = Field(default="main", description="The branch whose files are actions.")
    token_env: str = Field(
        default="",
        description="Name of the environment variable that holds an HTTPS token for the remote.",
    )
    token_secret: str = Field(
        default="",
        description="Name of a secret below [vault] bots_prefix that holds the HTTPS token.",
    )
    username: str = Field(
        default="disinto", description="User name that goes with the HTTPS token."
    )
    author_name: str = Field(default="disinto", description="Author of result commits.")
    author_email: str = Field(default="disinto@localhost", description="Author of result commits.")
    poll_interval_s: PositiveSeconds = Field(
        default=10.0,
        description="Seconds between polls of the remote; a webhook triggers one at once.",
    )
    timeout_s: PositiveSeconds = Field(
        default=60.0, description="Seconds after which a fetch or push is aborted and retried."
    )


class VaultSettings(Section):
    """Vault or OpenBao."""

    addr: str = Field(
        default="http://127.0.0.1:8200", description="Address. VAULT_ADDR overrides it."
    )
    namespace: str = Field(default="", description="Namespace. VAULT_NAMESPACE overrides it.")
    cacert: Path | None = Field(
        default=None, description="CA certificate file. VAULT_CACERT overrides it."
    )
    runner_addr: str = Field(
        default="", description="Address that jobs use, if it differs from addr."
    )
    auth: VaultAuth = Field(
        default=VaultAuth.TOKEN,
        description="How serve logs in: token (VAULT_TOKEN or token_file), approle, or jwt.",
    )
    token_file: Path | None = credential("File that holds the token.")
    auth_mount: str = Field(
        default="", description="Mount of the auth method; default approle or jwt-nomad."
    )
    role_id: str = Field(default="", description="AppRole role ID.")
    secret_id_file: Path | None = credential("File with the AppRole secret ID.")
    jwt_file: Path | None = credential("File with the JWT, e.g. Nomad's secrets/nomad_vault.jwt.")
    jwt_role: str = Field(
        default="",
        description="Role of the JWT login; default disinto.<installation>.dispatcher.",
    )
    installation: str = Field(
        default="default",
        pattern=r"^[a-z0-9-]{1,32}$",
        description="Name of this installation, unique per Vault: a-z, 0-9 and -. Part of the "
        "names of its policies and roles.",
    )
    kv_mount: str = Field(default="kv", description="Mount of the KV v2 engine.")
    kv_prefix: str = Field(
        default="disinto/runner", description="Path of the actions' secrets in the KV engine."
    )
    bots_prefix: str = Field(
        default="disinto/bots",
        description="Path of the dispatcher's own secrets, such as tokens.",
    )
    token_role: str = Field(
        default="",
        description="Token role that mints grants; default disinto.<installation>.runner.",
    )
    transit_mount: str = Field(default="transit", description="Mount of the transit engine.")
    timeout_s: PositiveSeconds = Field(default=10.0, description="Timeout of one request, seconds.")
    dynamic: dict[str, DynamicSettings] = Field(
        default_factory=dict,
        description="Secrets that an engine of Vault makes for one run, by name, each with path, "
        "fields, and perhaps write and require_lease; see docs/controls/dynamic-secrets.md.",
    )
    derived: dict[str, str] = Field(
        default_factory=dict,
        description="Secrets that Vault derives for a run, by name, each with the transit key that "
        "makes the HMAC of the run; see docs/controls/derived-secrets.md.",
    )

    @property
    def page_role(self) -> str:
        """The policy of the web page's own token, and the name of the roles that hand it out."""
        return f"disinto.{self.installation}.page"

    @property
    def fetched(self) -> Mapping[str, DynamicSettings]:
        """The secrets that a runner fetches by a request of their own, dynamic and derived, by name."""
        return {**self.dynamic, **{name: derived_request(self, name) for name in self.derived}}


class AgentSettings(Section):
    """The command that formulas of kind .toml are handed to."""

    command: tuple[str, ...] = Field(
        default=(),
        description="Command line; {model} and {tools} are filled in from the action, and an "
        "argument that becomes empty is dropped with the flag before it.",
    )
    default_model: str = Field(default="", description="Model for actions that name none.")


class FormulaSettings(Section):
    """Where formulas come from, besides the ops repo."""

    path: Path | None = Field(
        default=None,
        description="The operator's own formulas directory, trusted without approval; it takes "
        "precedence over the ops repo's formulas/.",
    )
    classes: dict[str, str] = Field(
        default_factory=dict,
        description="Job class by formula: runner, sidecar, provision or one of [jobs]; runner for "
        "those that are not named. See docs/jobs.md.",
    )


class PolicySettings(Section):
    """Tiers and gates."""

    file: Path | None = Field(
        default=None,
        description="policy.toml, the tiers of formulas, secrets and mounts; never from the ops "
        "repo.",
    )
    gate: GateKind = Field(default=GateKind.NONE, description="Gate for the tiers medium and high.")


class GateSettings(Section):
    """What approvals are for."""

    repository: str = Field(
        default="",
        description="Name of the ops repository in the approvals of gate signed; empty: the last "
        "two components of the remote's path, such as acme/ops. It must be unique per "
        "installation.",
    )


class SignedSettings(Section):
    """Gate signed."""

    allowed_signers: Path | None = Field(
        default=None, description="OpenSSH allowed_signers file, outside the ops repo."
    )
    revoked_keys: Path | None = Field(default=None, description="OpenSSH revocation list.")
    gpg_home: Path | None = Field(default=None, description="GNUPGHOME with the trusted keys.")
    gpg_fingerprints: tuple[str, ...] = Field(
        default=(), description="Full fingerprints of the GPG keys that may approve."
    )


class ForgeSettings(Section):
    """Gate forgejo, statuses, comments and pull requests."""

    url: str = Field(default="", description="Address of the forge, e.g. https://forge.example.")
    repository: str = Field(default="", description="owner/name of the ops repo on the forge.")
    token_env: str = Field(
        default="DISINTO_FORGE_TOKEN", description="Environment variable with the API token."
    )
    token_secret: str = Field(
        default="", description="Name of the API token's secret below [vault] bots_prefix."
    )
    cacert: Path | None = Field(default=None, description="CA certificate file.")
    approvers: tuple[str, ...] = Field(
        default=(), description="Users who may approve; empty: admins of the site or repository."
    )
    approver_team: str = Field(default="", description="org/team whose members may approve.")
    comment: bool = Field(
        default=True, description="Comment on pull requests: what waits, and how actions ended."
    )
    status: bool = Field(default=True, description="Set commit statuses of runs and approvals.")
    timeout_s: PositiveSeconds = Field(default=10.0, description="Timeout of one request, seconds.")


class SidecarSettings(Section):
    """Sidecars: issues of projects start runs."""

    file: Path | None = Field(
        default=None,
        description="sidecars.toml, the projects and the rules; never from the ops repo. Without "
        "it no issue starts anything.",
    )
    token_env: str = Field(
        default="DISINTO_SIDECAR_TOKEN",
        description="Environment variable with the API token that reads the projects' issues.",
    )
    token_secret: str = Field(
        default="", description="Name of that token's secret below [vault] bots_prefix."
    )
    report_token_env: str = Field(
        default="DISINTO_SIDECAR_REPORT_TOKEN",
        description="Environment variable with the API token that comments on issues and sets their "
        "labels; no run gets it. Without one nothing is reported on issues.",
    )
    report_token_secret: str = Field(
        default="", description="Name of that token's secret below [vault] bots_prefix."
    )
    poll_interval_s: PositiveSeconds = Field(
        default=60.0,
        description="Seconds between polls of a project's issues; a webhook triggers one at once.",
    )


class HttpSettings(Section):
    """The listener of serve."""

    listen: str = Field(
        default="127.0.0.1:8480", description="host:port, or empty for no listener."
    )
    webhook_secret_env: str = Field(
        default="DISINTO_WEBHOOK_SECRET", description="Environment variable with the HMAC secret."
    )
    webhook_secret_file: Path | None = credential("File with the HMAC secret.")


class TraceSettings(Section):
    """Traces of actions, by OpenTelemetry; needs the extra `trace` of the package."""

    endpoint: str = Field(
        default="",
        description="Where serve sends spans by OTLP over HTTP, e.g. "
        "http://127.0.0.1:4318/v1/traces; empty: nowhere. A collector's token comes from "
        "OTEL_EXPORTER_OTLP_HEADERS.",
    )


class LimitSettings(Section):
    """How much may run at a time."""

    max_in_flight: int = Field(
        default=16,
        ge=0,
        description="Maximum runs in flight; 0 starts nothing new and finishes the rest.",
    )
    formulas: dict[str, int] = Field(
        default_factory=dict,
        validate_default=True,
        description=f"Maximum runs in flight per formula, by its name. A formula `stack` that is not "
        f"named has {STACKS_AT_ONCE}: ten at once can block a Dokploy server for good (docs/stacks.md).",
    )
    max_run_s: PositiveSeconds = Field(
        default=604_800.0,
        description="Maximum duration of a run, seconds; caps the timeout_minutes of every action.",
    )
    max_action_bytes: int = Field(
        default=65_536,
        gt=0,
        le=65_536,  # what reads actions that ran, also on other machines, reads no more
        description="Maximum size of an action file, bytes.",
    )
    workers: int = Field(default=8, gt=0, description="Threads for network calls.")

    @field_validator("formulas")
    @classmethod
    def _stacks_too(cls, formulas: dict[str, int]) -> dict[str, int]:
        return {STACKS: STACKS_AT_ONCE, **formulas}


class OutputSettings(Section):
    """The whole output of runs, kept compressed on refs/disinto/logs/YYYY-MM of the remote."""

    keep: bool = Field(default=True, description="Keep the redacted output of runs.")
    max_kb: int = Field(
        default=2_048,
        gt=0,
        le=65_536,
        description="KiB kept of each stream of a run, before compression; of more, the first and "
        "the last half.",
    )
    keep_months: int = Field(
        default=12,
        ge=0,
        description="Months before the current one whose output serve keeps; 0: serve never "
        "removes any.",
    )


class ArchiveSettings(Section):
    """Finished actions move to vault/done/YYYY-MM/, in a busy month to its days."""

    after_days: float = Field(
        default=7.0, ge=0, description="Age in days at which a finished action is archived."
    )
    automatic: bool = Field(default=True, description="Let serve archive automatically.")


class GrantSettings(Section):
    """Lifetimes of grants."""

    provisional_ttl_s: int = Field(
        default=120,
        gt=0,
        description="Seconds a grant lives before its claim is recorded; an orphan expires after "
        "this.",
    )
    placement_wait_s: int = Field(
        default=3600,
        gt=0,
        description="Lifetime of the wrapping token, seconds: how long a run may wait for "
        "placement.",
    )
    margin_s: int = Field(
        default=300,
        ge=0,
        description="Seconds a grant lives longer than wait and timeout together.",
    )


class AttestationSettings(Section):
    """Signatures over results."""

    enabled: bool = Field(default=True, description="Sign results.")
    transit_key: str = Field(
        default="", description="Vault transit key (ed25519); empty: a local key in state_dir."
    )


class Settings(Section):
    """Everything a dispatcher is told. One file, ``disinto.toml``."""

    role: Role = Field(
        default=Role.DISPATCHER,
        description="What this installation is for: dispatcher, which runs actions, or author, "
        "which sends and cancels them through the ops repo only and opens neither ledger nor "
        "engine.",
    )
    state_dir: Path = Field(
        default=Path(STATE_DIR),
        description="Clone, ledger, spool, local key and audit log of this dispatcher.",
    )
    scheduler: str = Field(default="local", description="The engine, where runs execute.")
    log_level: str = Field(default="info", description="debug, info, warning or error.")
    ops_repo: OpsRepoSettings = OpsRepoSettings()
    vault: VaultSettings = VaultSettings()
    agent: AgentSettings = AgentSettings()
    formulas: FormulaSettings = FormulaSettings()
    policy: PolicySettings = PolicySettings()
    gate: GateSettings = GateSettings()
    signed: SignedSettings = SignedSettings()
    forge: ForgeSettings = ForgeSettings()
    sidecars: SidecarSettings = SidecarSettings()
    http: HttpSettings = HttpSettings()
    web: WebSettings = WebSettings()
    trace: TraceSettings = TraceSettings()
    limits: LimitSettings = LimitSettings()
    archive: ArchiveSettings = ArchiveSettings()
    output: OutputSettings = OutputSettings()
    grants: GrantSettings = GrantSettings()
    attestation: AttestationSettings = AttestationSettings()
    jobs: dict[str, JobClassSettings] = Field(
        default_factory=dict,
        description="Job classes by name, each a table [jobs.NAME]; see docs/jobs.md.",
    )
    notify: tuple[NotifySettings, ...] = Field(
        default=(), max_length=MAX_SINKS, description="Sinks of notifications."
    )

    def section(self, model: type[EngineSectionT]) -> EngineSectionT:
        """The section of an engine; the defaults if these settings were made without it."""
        values = self.__dict__.values()
        return next((value for value in values if isinstance(value, model)), None) or model()
