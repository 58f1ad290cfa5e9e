"""What ``disinto doctor`` and the start of ``serve`` check in Vault, each with its remedy. By hvac."""

from __future__ import annotations

import stat
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from dispatcher.errors import DisintoError
from dispatcher.model.checks import Check
from dispatcher.settings import Settings, VaultAuth
from dispatcher.settings.jobs import job_classes, own_bots
from dispatcher.vault import names, templates
from dispatcher.vault.apply import bot_policies, policy_text, secret_keys
from dispatcher.vault.derived import check_derived
from dispatcher.vault.dynamic import check_dynamic
from dispatcher.vault.errors import RightMissing
from dispatcher.vault.health import VaultHealth
from dispatcher.vault.hvac_client import hvac_client, if_present, listed
from dispatcher.vault.job_class_secrets import check_job_classes
from dispatcher.vault.ownership import owner, owner_of
from dispatcher.vault.page import capabilities, check_page, check_page_policy, is_page
from dispatcher.vault.session import Vault

if TYPE_CHECKING:
    import hvac

_APPLY = "Run `disinto apply` with an operator's token in VAULT_TOKEN."
_NO_BOT = "no-such-bot"
_WRITES = frozenset({"create", "update", "delete", "patch", "sudo", "root"})
_READS = frozenset({"read", "root"})


def check_vault(vault: Vault, settings: Settings) -> list[Check]:
    """Everything the dispatcher needs of Vault, and everything it must not have there.

    Args:
        vault: logged in as ``serve`` logs in, or as the web page in a job of its own. An operator's
            token fails the checks of rights.
        settings: of the dispatcher.

    Never raises; an unanswered request is a failed check.
    """
    health = vault.health()
    checks = list(_server(vault, health))
    if all(done.ok for done in checks):
        client = hvac_client(vault)
        if is_page(vault, settings):
            return [*checks, *check_page(client, settings), *_files(settings)]
        for name, check in (
            ("rights", _rights),
            ("least rights", _least_rights),
            ("token role", _token_role),
            ("KV engine", _kv_engine),
            ("policies", _policies),
            ("owner of policies", _owners),
            ("names of secrets", _names),
            ("web page", check_page_policy),
        ):
            checks.append(_checked(f"vault: {name}", check, client, settings))
        checks += check_dynamic(client, settings)
        if any(each.secrets or each.bots for each in job_classes(settings).by_name.values()):
            checks.append(_checked("vault: job classes", check_job_classes, client, settings))
        checks += check_derived(client, settings)
    checks += _files(settings)
    return checks


def _checked(
    name: str,
    check: Callable[[str, hvac.Client, Settings], Check],
    client: hvac.Client,
    settings: Settings,
) -> Check:
    try:
        return check(name, client, settings)
    except DisintoError as error:
        return Check(name=name, ok=False, detail=error.what, remedy=error.remedy or "")


def _server(vault: Vault, health: VaultHealth) -> Iterator[Check]:
    yield Check(
        name="vault: reachable",
        ok=health.reachable,
        detail=f"{vault.addr} answers, version {health.version}"
        if health.reachable
        else health.problem,
        remedy="" if health.reachable else "Start Vault, or set [vault] addr or VAULT_ADDR.",
    )
    if not health.reachable:
        return
    yield Check(
        name="vault: unsealed",
        ok=not health.sealed,
        detail=health.problem if health.sealed else "unsealed",
        remedy="Unseal it: `bao operator unseal` or `vault operator unseal`."
        if health.sealed
        else "",
    )
    if health.sealed:
        return
    lives = "never expires" if health.token_ttl_s is None else f"lives {health.token_ttl_s} s"
    how = "" if health.token_ttl_s is None else " and is renewed" * health.renewable
    yield Check(
        name="vault: token",
        ok=not health.problem,
        detail=health.problem or f"accepted; {lives}{how}",
        remedy="Log in by AppRole or JWT, or give serve a periodic token: "
        "`bao token create -orphan -period=1h -no-default-policy "
        f"-policy={names.dispatcher_policy(vault.settings)}`."
        if health.problem
        else "",
    )


def _rights(name: str, client: hvac.Client, settings: Settings) -> Check:
    held = capabilities(client, _needed(settings))
    missing = [
        f"{right} on {path}"
        for path, right in _needed(settings).items()
        if not {right, "root"} & held[path]
    ]
    return Check(
        name=name,
        ok=not missing,
        detail=f"missing: {', '.join(missing)}" if missing else "all that is needed",
        remedy=_APPLY if missing else "",
    )


def _least_rights(name: str, client: hvac.Client, settings: Settings) -> Check:
    secrets = sorted(filter(names.is_secret_name, secret_keys(client, settings))) or ["DOCTOR"]
    role = names.token_role(settings.vault)
    own = names.dispatcher_policy(settings.vault)
    unwanted = {
        names.kv_path(settings.vault, "data", secret): _READS | _WRITES for secret in secrets
    }
    unwanted |= {secret.path: _READS | _WRITES for secret in settings.vault.fetched.values()}
    # Those that runs get, and any other: earlier releases gave the dispatcher all of them.
    unwanted |= {
        names.kv_path(settings.vault, "data", bot, bots=True): _READS | _WRITES
        for bot in (*sorted(job_classes(settings).bots), _NO_BOT)
    }
    unwanted |= {
        f"sys/policies/acl/{names.policy_of(settings.vault, secret)}": _WRITES for secret in secrets
    }
    unwanted |= {
        f"sys/policies/acl/{own}": _WRITES,
        f"auth/token/roles/{role}": _WRITES,
        "auth/token/create": _WRITES,
        "auth/token/create-orphan": _WRITES,
        "sys/auth": _WRITES,
        "sys/mounts": _WRITES,
    }
    held = capabilities(client, unwanted)
    if any("root" in rights for rights in held.values()):
        return Check(
            name=name,
            ok=False,
            detail="the token in use is a root token: it can read every secret and change every "
            "policy",
            remedy=f"Give serve a token with only the policy {own}.",
        )
    too_much = [path for path, rights in unwanted.items() if rights & held[path]]
    return Check(
        name=name,
        ok=not too_much,
        detail=f"the token in use has more permissions than it should on {', '.join(too_much)}"
        if too_much
        else "no secret of actions, no bot of runs, no policy, no role",
        remedy=f"Give serve a token with only the policy {own}, and run `disinto apply`, which "
        "writes it."
        if too_much
        else "",
    )


def _token_role(name: str, client: hvac.Client, settings: Settings) -> Check:
    role = names.token_role(settings.vault)
    path = f"auth/token/roles/{role}"
    held = if_present(client.auth.token.read_role, role)
    if held is None:
        return Check(name=name, ok=False, detail=f"{path} does not exist", remedy=_APPLY)
    wrong = sorted(
        key
        for key, value in templates.token_role(settings).items()
        if (held.get(key) or None) != (value or None)
    )
    return Check(
        name=name,
        ok=not wrong,
        detail=f"{path} differs in {', '.join(wrong)}" if wrong else f"{path} is up to date",
        remedy=_APPLY if wrong else "",
    )


def _kv_engine(name: str, client: hvac.Client, settings: Settings) -> Check:
    mount = names.safe_path(settings.vault.kv_mount, key="kv_mount")
    try:
        held = if_present(client.read, f"sys/internal/ui/mounts/{mount}")
    except RightMissing:  # for a mount that does not exist, too
        held = None
    kind = (held or {}).get("type")
    version = ((held or {}).get("options") or {}).get("version")
    ok = kind == "kv" and version == "2"
    detail = (
        f"no mount {mount}/" if held is None else f"{mount}/ is of type {kind}, version {version}"
    )
    return Check(name=name, ok=ok, detail=detail, remedy="" if ok else _APPLY)


def _policies(name: str, client: hvac.Client, settings: Settings) -> Check:
    secrets = names.usable_names(settings.vault, secret_keys(client, settings))
    expected = {
        names.policy_of(settings.vault, s): templates.runner_policy(settings, s) for s in secrets
    }
    expected[names.lookup_self_policy(settings.vault)] = templates.lookup_self_policy(settings)
    bots = bot_policies(settings)
    expected |= bots
    wrong = [
        policy
        for policy, text in expected.items()
        if policy_text(client, policy).strip() != text.strip()
    ]
    return Check(
        name=name,
        ok=not wrong,
        detail=f"missing or changed: {', '.join(sorted(wrong))}"
        if wrong
        else f"one per secret, {len(secrets)} in total"
        + (f", and one per bot, {len(bots)}" if bots else ""),
        remedy=_APPLY if wrong else "",
    )


def _owners(name: str, client: hvac.Client, settings: Settings) -> Check:
    """Every policy that a grant could be minted with must be ours."""
    prefix = names.runner_prefix(settings.vault)
    foreign = []
    for policy in listed(client.sys.list_acl_policies):
        if not policy.startswith(prefix):
            continue
        held = if_present(client.sys.read_acl_policy, policy)
        if held is not None and owner_of(str(held.get("policy", ""))) != owner(settings):
            foreign.append(policy)
    return Check(
        name=name,
        ok=not foreign,
        detail=f"not written by {owner(settings)}: {', '.join(sorted(foreign))}"
        if foreign
        else f"all of {prefix}* are of {owner(settings)}",
        remedy="Somebody else uses these names, and grants could read what those policies allow: "
        "set another [vault] installation, or remove those policies."
        if foreign
        else "",
    )


def _names(name: str, client: hvac.Client, settings: Settings) -> Check:
    stored = secret_keys(client, settings)
    names.refuse_case_twins(key for key in stored if not key.endswith("/"))
    unusable = sorted(key for key in stored if not names.is_secret_name(key))
    return Check(
        name=name,
        ok=not unusable,
        detail=f"no action can name {', '.join(unusable)}"
        if unusable
        else f"{len(stored)} secrets below {settings.vault.kv_mount}/{settings.vault.kv_prefix}",
        remedy="Store them under names of capital letters, digits and underscores."
        if unusable
        else "",
    )


def _files(settings: Settings) -> Iterator[Check]:
    vault = settings.vault
    used: Mapping[VaultAuth, tuple[str, Path | None]] = {
        VaultAuth.TOKEN: ("token_file", vault.token_file),
        VaultAuth.APPROLE: ("secret_id_file", vault.secret_id_file),
    }
    key, path = used.get(vault.auth, ("", None))
    if path is None or not path.exists():  # the login reports it
        return
    mode = stat.S_IMODE(path.stat().st_mode)
    ok = not mode & 0o077
    yield Check(
        name=f"vault: {key}",
        ok=ok,
        detail=f"{path} has mode {mode:04o}" + ("" if ok else ", so others can read it"),
        remedy="" if ok else f"chmod 600 {path}",
    )


def _needed(settings: Settings) -> Mapping[str, str]:
    vault = settings.vault
    role = names.token_role(vault)
    needed = {
        f"auth/token/create/{role}": "update",
        f"auth/token/roles/{role}": "read",
        "auth/token/renew-accessor": "update",
        "auth/token/lookup-accessor": "update",
        "auth/token/revoke-accessor": "update",
        "auth/token/renew-self": "update",
        names.kv_path(vault, "metadata"): "list",
        "sys/policies/acl": "list",
    }
    needed |= {
        names.kv_path(vault, "data", names.bot_name(bot), bots=True): "read"
        for bot in own_bots(settings)
    }
    if bots := templates.bot_names_path(settings):
        needed[bots] = "list"
    key = settings.attestation.transit_key
    if key:
        mount = names.safe_path(vault.transit_mount, key="transit_mount")
        needed |= {f"{mount}/sign/{key}": "update", f"{mount}/keys/{key}": "read"}
    return needed
