"""Renders jobspecs, ACL policies and client configuration for Nomad. Pure.

Settings in, text out; the templates are constants of the installation (``jobs/``). Nothing here
queries a server: ``dispatcher.engines.nomad.apply`` registers, ``dispatcher.engines.nomad``
dispatches.

Every string of the settings passes the filter ``hcl``, so that the text stays one string of valid
HCL, whatever a setting contains. ``${…}`` of a setting reaches Nomad's client literally, where the
customary ``${attr.…}`` and ``${NOMAD_…}`` are filled in.
"""

from __future__ import annotations

import hashlib
import math
import re
import sys
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from urllib.parse import urlsplit

import jinja2

from dispatcher.engines.local.settings import LocalSettings
from dispatcher.engines.nomad.settings import (
    NomadDriver,
    NomadSettings,
    dispatcher_name,
    names_prefix,
    page_name,
)
from dispatcher.errors import Misconfigured
from dispatcher.host import resources
from dispatcher.model.job_class import RUNNER, JobVariant
from dispatcher.model.mounts import Mount
from dispatcher.settings import Settings
from dispatcher.settings.jobs import RESOURCES, class_settings
from dispatcher.settings.workload_identity import VAULT_AUDIENCE

TASK = "runner"
"""Name of the one task of a runner job; logs and events are requested by it."""

OUTCOME_FILE = "alloc/outcome.json"
"""Path of the runner's outcome, relative to the allocation's directory."""

RUNNER_ARGS = (
    "--payload",
    "${NOMAD_TASK_DIR}/payload",
    "--outcome",
    "${NOMAD_ALLOC_DIR}/outcome.json",
)
"""What follows ``runner_command`` inside a job; Nomad's client fills in the two directories."""

META_REQUIRED = ("action_id", "formula", "commit", "grant_accessor")
META_OPTIONAL = ("blob", "tier", "approved_by")
"""Keys of a dispatch's meta: information for people who view the job in Nomad."""

CLASS_KEY = "disinto_class"
PREFIX_KEY = "disinto_prefix"
"""Keys of the meta of a parent job of another class than ``runner``: the class, and the installation's
``[nomad] ledger_prefix``. By these a job is known as ours whose class is no longer in the settings."""

SPEC_KEY = "disinto_spec"
"""Key of a job's meta that holds the digest of the text it was rendered from."""

AGENT_UID = 1000
"""User ``agent`` of the image; the directories behind host volumes belong to it."""

KILL_TIMEOUT_S = 30
"""Nomad's default ``max_kill_timeout``: what a client grants without being configured."""

KILL_MARGIN_S = 5
"""Seconds that a runner has after its formula was killed, to report how it ended."""

LOST_AFTER_S = 24 * 3600
"""Minimum time for which Nomad itself waits for a vanished node before it would reschedule the
run; the dispatcher stops such a run long before that (``[nomad] node_wait_s``)."""

PIDS_LIMIT = 4096
DISPATCHER_CPU_MHZ = 200
DISPATCHER_MEMORY_MB = 512
DISPATCHER_DISK_MB = 1024
PAGE_MEMORY_MB = 512

_DISK_RESERVE_MB = 10  # what a run may leave beside its logs


@dataclass(frozen=True, kw_only=True, slots=True)
class Jobspec:
    """A rendered job.

    Attributes:
        name: the job's ID and name.
        hcl: its text.
        spec: digest of the text, also in the job's meta under ``SPEC_KEY``.
    """

    name: str
    hcl: str
    spec: str


@dataclass(frozen=True, kw_only=True, slots=True)
class AclPolicy:
    """A rendered ACL policy.

    Attributes:
        name, description, rules: as Nomad's API expects them.
        job: ID of the job whose workload identity carries it, or "" for policies that a token
            names.
    """

    name: str
    description: str
    rules: str
    job: str = ""


def runner_prefix(nomad: NomadSettings) -> str:
    """Common beginning of the names of all runner jobs of this installation.

    ``[nomad] ledger_prefix`` or ``job_prefix`` distinguishes two installations on one cluster.
    """
    return f"{names_prefix(nomad)}-runner"


def runner_name(nomad: NomadSettings, mounts: Collection[Mount]) -> str:
    """Name of the parent job of the class ``runner`` for a set of mounts, e.g.
    ``disinto-runner-ssh-gpg``.

    The order of the mounts and repetitions do not matter.
    """
    return "-".join((runner_prefix(nomad), *(mount.value for mount in _ordered(mounts))))


def parent_name(settings: Settings, variant: JobVariant) -> str:
    """Name of the parent job of a class for a set of mounts, e.g. ``disinto-runner-sidecar``. Those
    that the class itself has are left out. The name of no class contains that of a mount.
    """
    nomad = settings.section(NomadSettings)
    if variant.job_class == RUNNER:
        return runner_name(nomad, variant.mounts)
    own = class_settings(settings, variant.job_class).mounts
    more = (mount.value for mount in _ordered(variant.mounts.difference(own)))
    return "-".join((runner_prefix(nomad), variant.job_class, *more))


def of_class(settings: Settings, name: str) -> NomadSettings:
    """``[nomad]`` with what a job class has of its own."""
    nomad, keys = settings.section(NomadSettings), class_settings(settings, name)
    own = {
        "runner_command" if k == "command" else k: v for k in RESOURCES if (v := getattr(keys, k))
    }
    if keys.memory_mb and not keys.memory_max_mb:
        own["memory_max_mb"] = 0
    if keys.driver:
        own["driver"] = NomadDriver(keys.driver)
    return nomad.model_copy(update=own)


def runner_command(nomad: NomadSettings) -> tuple[str, ...]:
    """The command that starts the runner. With raw_exec it runs on this machine or one set up like
    it, where ``python3`` is seldom the interpreter that disinto was installed for.
    """
    if nomad.runner_command:
        return nomad.runner_command
    raw_exec = nomad.driver is NomadDriver.RAW_EXEC
    return (sys.executable if raw_exec and sys.executable else "python3", "-m", "dispatcher.runner")


def kill_grace_s(settings: Settings, job_class: str) -> float:
    """Seconds between TERM and KILL of a formula. A longer one than clients grant would have the runner
    killed before it could report anything; so what is longer has to be in the settings. The key for
    all classes is in ``[local]``, and applies to every engine of this package.
    """
    table = settings.jobs.get(job_class)
    if table is not None and table.kill_grace_s:
        return table.kill_grace_s
    built_in = min(class_settings(settings, job_class).kill_grace_s, KILL_TIMEOUT_S - KILL_MARGIN_S)
    return built_in or settings.section(LocalSettings).kill_grace_s


def _kill_timeout_s(settings: Settings, job_class: str) -> int:
    table = settings.jobs.get(job_class)
    given = table.kill_grace_s if table is not None else 0.0
    return max(KILL_TIMEOUT_S, math.ceil(given) + KILL_MARGIN_S if given else 0)


def runner_job(settings: Settings, mounts: Collection[Mount] = ()) -> Jobspec:
    """The parent job of the class ``runner`` with this set of mounts. Raises as ``parent_job``."""
    return parent_job(settings, JobVariant(mounts=frozenset(mounts)))


def parent_job(settings: Settings, variant: JobVariant) -> Jobspec:
    """The parent job of a class for runs with this set of mounts.

    Raises:
        Misconfigured: the settings contradict each other (logs larger than the disk, mounts with
            a driver that has none).
    """
    nomad, mounts = of_class(settings, variant.job_class), variant.mounts
    own = class_settings(settings, variant.job_class)
    _check_disk(nomad)
    if mounts and nomad.driver == "raw_exec":
        raise Misconfigured(
            "the driver raw_exec has no host volumes, so no job can have mounts",
            remedy='Set [nomad] driver = "docker".',
        )
    return _job(
        "jobs/runner.nomad.hcl.j2",
        parent_name(settings, variant),
        type="batch",
        nomad=nomad,
        job_class="" if variant.job_class == RUNNER else variant.job_class,
        mounts=_ordered(mounts),
        task=TASK,
        command=(*runner_command(nomad), *RUNNER_ARGS, *_ops_repo(mounts)),
        meta_required=(*META_REQUIRED, *own.meta),
        meta_optional=META_OPTIONAL,
        kill_timeout=f"{_kill_timeout_s(settings, variant.job_class)}s",
        lost_after=f"{max(LOST_AFTER_S, 2 * int(nomad.node_wait_s))}s",
        pids_limit=PIDS_LIMIT,
        links=_links(settings),
        description=(
            "Runs approved actions of an operations repository, one dispatched job for each. "
            "The meta of a dispatched job names the action, its formula and who approved it. "
            "Stopping one here cancels that run."
        ),
    )


def dispatcher_job(settings: Settings, *, config_files: Mapping[str, str]) -> Jobspec:
    """The dispatcher as a service of Nomad, logging in by its workload identity.

    Args:
        settings: of the dispatcher that is to run there.
        config_files: text by file name; ``disinto.toml`` and what it refers to beside itself
            (``policy.toml``, an allowed-signers file). They must hold no secret: Nomad stores them.

    Raises:
        Misconfigured: ``disinto.toml`` is not among the files, or a name leads elsewhere.
    """
    _check_files(settings, config_files, whose="dispatcher")
    return _job(
        "jobs/dispatcher.nomad.hcl.j2",
        dispatcher_name(settings.section(NomadSettings)),
        type="service",
        job_class="",
        nomad=settings.section(NomadSettings),
        vault=settings.vault,
        task="dispatcher",
        audience=VAULT_AUDIENCE,
        config_files=[{"name": n, "text": t} for n, t in sorted(config_files.items())],
        delimiters=_delimiters(config_files.values()),
        kill_timeout=f"{KILL_TIMEOUT_S}s",
        cpu_mhz=DISPATCHER_CPU_MHZ,
        memory_mb=DISPATCHER_MEMORY_MB,
        disk_mb=max(DISPATCHER_DISK_MB, settings.section(NomadSettings).disk_mb),
        links=_links(settings),
        description=(
            "Turns each approved action file of an operations repository into one run and one "
            "result. At most one of its kind leads; a second one waits."
        ),
    )


def page_job(settings: Settings, *, config_files: Mapping[str, str]) -> Jobspec:
    """The web page as a service of Nomad that may only read; see ``dispatcher_job``.

    Raises:
        Misconfigured: as ``dispatcher_job``.
    """
    _check_files(settings, config_files, whose="web page")
    nomad = settings.section(NomadSettings)
    return _job(
        "jobs/page.nomad.hcl.j2",
        page_name(nomad),
        type="service",
        job_class="",
        nomad=nomad,
        vault=settings.vault,
        task="page",
        audience=VAULT_AUDIENCE,
        jwt_role=settings.vault.page_role,
        port=settings.web.host_and_port[1],
        config_files=[{"name": n, "text": t} for n, t in sorted(config_files.items())],
        delimiters=_delimiters(config_files.values()),
        cpu_mhz=DISPATCHER_CPU_MHZ,
        memory_mb=PAGE_MEMORY_MB,
        disk_mb=max(DISPATCHER_DISK_MB, nomad.disk_mb),
        links=_links(settings),
        description="The web page of disinto: it shows what runs, and sends what people ask for.",
    )


def _check_files(settings: Settings, config_files: Mapping[str, str], *, whose: str) -> None:
    _check_disk(settings.section(NomadSettings))
    if "disinto.toml" not in config_files:
        raise Misconfigured(f"the {whose}'s job needs disinto.toml among its files")
    for name in config_files:
        if not re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9._-]*", name):
            raise Misconfigured(f"{name!r} is not the name of a file beside disinto.toml")


def client_config(
    nomad: NomadSettings, *, mounts: Collection[Mount] = tuple(Mount), base: str = "/srv/disinto"
) -> str:
    """The configuration that a Nomad client needs to offer these mounts; for people to copy.

    Args:
        nomad: for the driver.
        mounts: which volumes to offer; all by default.
        base: directory on the client below which each volume gets a directory of its name.
    """
    return _render(
        "jobs/client.hcl.j2",
        mounts=_ordered(mounts),
        base=base,
        uid=AGENT_UID,
        driver=nomad.driver.value,
    )


def host_volumes(*, base: str) -> str:
    """The part of a client's configuration that offers every mount, from ``base/<name>``."""
    return _render("jobs/shared/volumes.hcl.j2", mounts=tuple(Mount), base=base)


def acl_policies(nomad: NomadSettings) -> tuple[AclPolicy, ...]:
    """The ACL policies of the dispatcher, the web page, and those who run ``disinto apply``."""
    suffix = names_prefix(nomad)
    return (
        AclPolicy(
            name=f"{suffix}-dispatcher",
            description="disinto: dispatch, watch and remove runs; nothing else",
            rules=_render("jobs/acl/dispatcher.policy.hcl.j2", nomad=nomad),
            job=dispatcher_name(nomad),
        ),
        AclPolicy(
            name=f"{suffix}-page",
            description="disinto: show runs and claims; nothing else",
            rules=_render("jobs/acl/page.policy.hcl.j2", nomad=nomad),
            job=page_name(nomad),
        ),
        AclPolicy(
            name=f"{suffix}-operator",
            description="disinto: register the runner and dispatcher jobs",
            rules=_render("jobs/acl/operator.policy.hcl.j2", nomad=nomad, mounts=tuple(Mount)),
        ),
    )


def hcl(value: object) -> str:
    """A value as HCL: text, whole numbers, truth values and sequences of them.

    ``$`` and ``%`` before a brace are written as code points, since a doubled sign is itself
    ambiguous after another one.

    Raises:
        TypeError: for any other type.
    """
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, str):
        return f'"{_escape(value)}"'
    if isinstance(value, Sequence):
        return f"[{', '.join(hcl(item) for item in value)}]"
    raise TypeError(f"no HCL for a {type(value).__name__}")


_NAMED = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t"}
_SPECIAL = re.compile(r'[\\"\x00-\x1f\x7f]|[$%](?=\{)')


def _escape(text: str) -> str:
    def replace(match: re.Match[str]) -> str:
        char = match.group()
        return _NAMED.get(char) or f"\\u{ord(char):04x}"

    return _SPECIAL.sub(replace, text)


@cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(resources.text),
        undefined=jinja2.StrictUndefined,
        autoescape=False,  # noqa: S701 - the output is HCL; the filter `hcl` escapes for it
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["hcl"] = hcl
    return environment


def _render(template: str, **context: object) -> str:
    return _environment().get_template(template).render(context)


def _job(template: str, name: str, **context: object) -> Jobspec:
    # The digest is taken over the text without it; it changes when, and only when, the text does.
    bare = _render(template, name=name, spec="", **context)
    spec = hashlib.sha256(bare.encode()).hexdigest()[:16]
    return Jobspec(name=name, hcl=_render(template, name=name, spec=spec, **context), spec=spec)


def _ops_repo(mounts: Collection[Mount]) -> tuple[str, ...]:
    return ("--ops-repo", Mount.OPS_REPO.target) if Mount.OPS_REPO in mounts else ()


def _ordered(mounts: Collection[Mount]) -> tuple[Mount, ...]:
    return tuple(mount for mount in Mount if mount in mounts)


def _links(settings: Settings) -> list[dict[str, str]]:
    """Addresses that a browser can open. Those with a user or password in them are left out."""
    candidates = (
        ("Operations repository", settings.ops_repo.remote),
        ("Forge", settings.forge.url),
    )
    return [{"label": label, "url": url} for label, url in candidates if _is_plain_link(url)]


def _is_plain_link(url: str) -> bool:
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname) and "@" not in parts.netloc


def _delimiters(texts: Iterable[str]) -> tuple[str, str]:
    joined = "\n".join(texts)
    fence = "disinto"
    while f"<<{fence}" in joined or f"{fence}>>" in joined:
        fence += "-"
    return f"<<{fence}", f"{fence}>>"


def _check_disk(nomad: NomadSettings) -> None:
    logs = 2 * nomad.log_files * nomad.log_file_mb
    if logs + _DISK_RESERVE_MB > nomad.disk_mb:
        raise Misconfigured(
            f"[nomad] disk_mb = {nomad.disk_mb} is too small: two streams of {nomad.log_files} "
            f"files of {nomad.log_file_mb} MiB take {logs} MiB",
            remedy=f"Set disk_mb to {logs + _DISK_RESERVE_MB} or more, or keep fewer logs.",
        )
