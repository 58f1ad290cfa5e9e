"""The settings as frozen records: sections, keys, defaults and what each means."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from dispatcher.model.run import Mount
from dispatcher.settings_file import STATE_DIR

DONE_PATH = "vault/done"
FORMULAS_PATH = "formulas"
"""Fixed places in an ops repo."""

PositiveSeconds = Annotated[float, Field(gt=0)]


_CREDENTIAL = "credential"


def _credential(description: str) -> Any:
    """A field with the path of a file that holds a credential; see ``credential_files``."""
    return Field(default=None, description=description, json_schema_extra={_CREDENTIAL: True})


class Role(StrEnum):
    """What an installation is for."""

    DISPATCHER = "dispatcher"
    AUTHOR = "author"


class SchedulerKind(StrEnum):
    LOCAL = "local"
    NOMAD = "nomad"


class VaultAuth(StrEnum):
    TOKEN = "token"  # noqa: S105 - the name of a method
    APPROLE = "approle"
    JWT = "jwt"


class GateKind(StrEnum):
    NONE = "none"
    SIGNED = "signed"
    FORGEJO = "forgejo"


class NomadDriver(StrEnum):
    DOCKER = "docker"
    RAW_EXEC = "raw_exec"


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class OpsRepoSettings(_Section):
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


class VaultSettings(_Section):
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
    token_file: Path | None = _credential("File that holds the token.")
    auth_mount: str = Field(
        default="", description="Mount of the auth method; default approle or jwt-nomad."
    )
    role_id: str = Field(default="", description="AppRole role ID.")
    secret_id_file: Path | None = _credential("File with the AppRole secret ID.")
    jwt_file: Path | None = _credential("File with the JWT, e.g. Nomad's secrets/nomad_vault.jwt.")
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


class NomadSettings(_Section):
    """Nomad. Each connection setting is overridden by the customary NOMAD_* variable."""

    addr: str = Field(default="http://127.0.0.1:4646", description="Address. NOMAD_ADDR.")
    region: str = Field(default="", description="Region. NOMAD_REGION.")
    namespace: str = Field(default="default", description="Namespace. NOMAD_NAMESPACE.")
    token_file: Path | None = _credential("File with the ACL token, if NOMAD_TOKEN is not set.")
    cacert: Path | None = Field(default=None, description="CA certificate. NOMAD_CACERT.")
    client_cert: Path | None = Field(default=None, description="NOMAD_CLIENT_CERT.")
    client_key: Path | None = _credential("NOMAD_CLIENT_KEY.")
    tls_server_name: str = Field(default="", description="NOMAD_TLS_SERVER_NAME.")
    timeout_s: PositiveSeconds = Field(default=10.0, description="Timeout of one request, seconds.")
    driver: NomadDriver = Field(default=NomadDriver.DOCKER, description="Task driver of runners.")
    image: str = Field(default="disinto:latest", description="Image of the runner (docker driver).")
    runner_command: tuple[str, ...] = Field(
        default=(),
        description="Command that starts the runner inside a job; empty: python3 -m "
        "dispatcher.runner with docker, the same with the interpreter of 'disinto apply' with "
        "raw_exec.",
    )
    network_mode: str = Field(default="host", description="Docker network mode of runners.")
    datacenters: tuple[str, ...] = Field(default=("*",), description="Where jobs may be placed.")
    node_pool: str = Field(default="default", description="Node pool of runner jobs.")
    cpu_mhz: int = Field(default=200, gt=0, description="CPU share of a runner, MHz.")
    memory_mb: int = Field(default=256, gt=0, description="Memory reserved for a runner, MiB.")
    memory_max_mb: int = Field(
        default=0, ge=0, description="Memory limit if oversubscription is on, MiB."
    )
    disk_mb: int = Field(default=300, gt=0, description="Ephemeral disk of a runner, MiB.")
    log_files: int = Field(default=3, gt=0, description="Rotated log files kept per stream.")
    log_file_mb: int = Field(default=10, gt=0, description="Size of one log file, MiB.")
    constraints: tuple[dict[str, str], ...] = Field(
        default=(),
        description="Extra constraints of runner jobs: attribute, operator and value.",
    )
    placement_wait_s: PositiveSeconds = Field(
        default=900.0, description="Seconds a run may wait for placement before it is unplaceable."
    )
    node_wait_s: PositiveSeconds = Field(
        default=600.0,
        description="Seconds to wait for a run on a node that stopped responding before it is "
        "lost.",
    )
    mount_sets: tuple[tuple[Mount, ...], ...] = Field(
        default=(),
        description="Sets of mounts that get a runner job, besides those that open actions need.",
    )
    ledger_prefix: str = Field(
        default="disinto", description="Path prefix of the ledger's variables."
    )
    keep_finished_s: float = Field(
        default=3600.0,
        ge=0,
        description="Seconds a finished run's job is kept for inspection in Nomad and for "
        "'disinto logs', once its result is in git; at most 500 jobs. 0 purges it at once.",
    )
    lease_ttl_s: int = Field(default=15, ge=10, description="TTL of the leader's lock, seconds.")
    priority: int = Field(default=50, ge=1, le=100, description="Nomad priority of runner jobs.")


class LocalSettings(_Section):
    """The local engine: runs are processes on this machine."""

    mounts: dict[Mount, Path] = Field(
        default_factory=dict, description="Directory offered for each mount."
    )
    allow_unprotected_mounts: bool = Field(
        default=False,
        description="Offer mounts without bubblewrap: as links, and not protected from writing.",
    )
    bubblewrap: bool = Field(
        default=True,
        description="Run formulas in bubblewrap if it is installed: the machine's files are "
        "read-only; the dispatcher's own files and mounts that were not requested are hidden. If "
        "it is installed but unusable, nothing is started.",
    )
    hide_home: bool = Field(
        default=True,
        description="In bubblewrap, also hide the home directory of the dispatcher's user; turn it "
        "off if formulas need programs installed there.",
    )
    path: str = Field(
        default="/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        description="PATH of formulas.",
    )
    log_limit_mb: int = Field(
        default=64, gt=0, description="Size limit of the log per stream and run, MiB."
    )
    keep_logs_s: float = Field(
        default=604_800.0,
        ge=0,
        description="Seconds the full, redacted logs of a finished run are kept in "
        "<state_dir>/logs for 'disinto logs'.",
    )
    kill_grace_s: PositiveSeconds = Field(
        default=10.0, description="Seconds between TERM and KILL."
    )


class AgentSettings(_Section):
    """The command that formulas of kind .toml are handed to."""

    command: tuple[str, ...] = Field(
        default=(),
        description="Command line; {model} and {tools} are filled in from the action, and an "
        "argument that becomes empty is dropped with the flag before it.",
    )
    default_model: str = Field(default="", description="Model for actions that name none.")


class FormulaSettings(_Section):
    """Where formulas come from, besides the ops repo."""

    path: Path | None = Field(
        default=None,
        description="The operator's own formulas directory, trusted without approval; it takes "
        "precedence over the ops repo's formulas/.",
    )


class PolicySettings(_Section):
    """Tiers and gates."""

    file: Path | None = Field(
        default=None,
        description="policy.toml, the tiers of formulas, secrets and mounts; never from the ops "
        "repo.",
    )
    gate: GateKind = Field(default=GateKind.NONE, description="Gate for the tiers medium and high.")


class GateSettings(_Section):
    """What approvals are for."""

    repository: str = Field(
        default="",
        description="Name of the ops repository in the approvals of gate signed; empty: the last "
        "two components of the remote's path, such as acme/ops. It must be unique per "
        "installation.",
    )


class SignedSettings(_Section):
    """Gate signed."""

    allowed_signers: Path | None = Field(
        default=None, description="OpenSSH allowed_signers file, outside the ops repo."
    )
    revoked_keys: Path | None = Field(default=None, description="OpenSSH revocation list.")
    gpg_home: Path | None = Field(default=None, description="GNUPGHOME with the trusted keys.")
    gpg_fingerprints: tuple[str, ...] = Field(
        default=(), description="Full fingerprints of the GPG keys that may approve."
    )


class ForgeSettings(_Section):
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


class HttpSettings(_Section):
    """The listener of serve."""

    listen: str = Field(
        default="127.0.0.1:8480", description="host:port, or empty for no listener."
    )
    webhook_secret_env: str = Field(
        default="DISINTO_WEBHOOK_SECRET", description="Environment variable with the HMAC secret."
    )
    webhook_secret_file: Path | None = _credential("File with the HMAC secret.")


class LimitSettings(_Section):
    """How much may run at a time."""

    max_in_flight: int = Field(
        default=16,
        ge=0,
        description="Maximum runs in flight; 0 starts nothing new and finishes the rest.",
    )
    formulas: dict[str, int] = Field(
        default_factory=dict, description="Maximum runs in flight per formula, by its name."
    )
    max_run_s: PositiveSeconds = Field(
        default=604_800.0,
        description="Maximum duration of a run, seconds; caps the timeout_minutes of every action.",
    )
    max_action_bytes: int = Field(
        default=65_536, gt=0, description="Maximum size of an action file, bytes."
    )
    workers: int = Field(default=8, gt=0, description="Threads for network calls.")


class ArchiveSettings(_Section):
    """Finished actions move to vault/done/YYYY-MM/."""

    after_days: float = Field(
        default=7.0, ge=0, description="Age in days at which a finished action is archived."
    )
    automatic: bool = Field(default=True, description="Let serve archive automatically.")


class GrantSettings(_Section):
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


class AttestationSettings(_Section):
    """Signatures over results."""

    enabled: bool = Field(default=True, description="Sign results.")
    transit_key: str = Field(
        default="", description="Vault transit key (ed25519); empty: a local key in state_dir."
    )


class Settings(_Section):
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
    scheduler: SchedulerKind = Field(
        default=SchedulerKind.LOCAL, description="The engine, where runs execute: local or nomad."
    )
    log_level: str = Field(default="info", description="debug, info, warning or error.")
    ops_repo: OpsRepoSettings = OpsRepoSettings()
    vault: VaultSettings = VaultSettings()
    nomad: NomadSettings = NomadSettings()
    local: LocalSettings = LocalSettings()
    agent: AgentSettings = AgentSettings()
    formulas: FormulaSettings = FormulaSettings()
    policy: PolicySettings = PolicySettings()
    gate: GateSettings = GateSettings()
    signed: SignedSettings = SignedSettings()
    forge: ForgeSettings = ForgeSettings()
    http: HttpSettings = HttpSettings()
    limits: LimitSettings = LimitSettings()
    archive: ArchiveSettings = ArchiveSettings()
    grants: GrantSettings = GrantSettings()
    attestation: AttestationSettings = AttestationSettings()


def credential_files(settings: Settings) -> tuple[Path, ...]:
    """The files that hold a credential, as the settings name them, present or not."""
    found: list[Path] = []
    for name in Settings.model_fields:
        section = getattr(settings, name)
        if not isinstance(section, _Section):
            continue
        for key, described in type(section).model_fields.items():
            extra = described.json_schema_extra
            value = getattr(section, key)
            if isinstance(extra, dict) and extra.get(_CREDENTIAL) and isinstance(value, Path):
                found.append(value)
    return tuple(found)
