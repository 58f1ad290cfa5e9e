"""Finds settings that are each valid, but contradict each other. Pure: no file is opened.

Whether files exist and servers answer is checked by ``doctor`` and by the code that uses them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

from dispatcher.settings.addresses import has_password, is_http
from dispatcher.settings.derived import derived_contradictions
from dispatcher.settings.dynamic import dynamic_contradictions
from dispatcher.settings.jobs import class_contradictions
from dispatcher.settings.models import GateKind, Settings, VaultAuth
from dispatcher.settings.notify_checks import mistakes
from dispatcher.settings.repository import repository_name
from dispatcher.settings.section import Contradiction, wrong
from dispatcher.settings.web import web_contradictions
from dispatcher.settings.whole import engine_sections
from dispatcher.toml.explain import did_you_mean
from dispatcher.toml.source import KeyPath, quoted


def contradictions(settings: Settings) -> Iterator[Contradiction]:
    """All of them, in the order of the file's sections."""
    for check in _CHECKS:
        yield from check(settings)


def _log_level(settings: Settings) -> Iterator[Contradiction]:
    levels = ("debug", "info", "warning", "error")
    if settings.log_level not in levels:
        what = f"log_level cannot be {quoted(settings.log_level)}"
        yield wrong(what, "log_level", remedy=f"Use one of {', '.join(levels)}")


def _ops_repo(settings: Settings) -> Iterator[Contradiction]:
    repo = settings.ops_repo
    if repo.remote.startswith("-"):
        remedy = "Write a path, or an ssh:// or https:// address"
        yield wrong("the remote begins with -", "ops_repo", "remote", remedy=remedy)
    if has_password(repo.remote):
        yield wrong(
            "the remote's address contains a password",
            "ops_repo",
            "remote",
            remedy="Secrets do not belong in this file: remove it, and set token_env or "
            "token_secret",
        )
    if not _is_branch(repo.branch):
        what = f"{quoted(repo.branch)} cannot be the name of a branch"
        yield wrong(what, "ops_repo", "branch", remedy='Write for example branch = "main"')


def _addresses(settings: Settings) -> Iterator[Contradiction]:
    addresses = (
        ("vault", "addr", settings.vault.addr),
        ("vault", "runner_addr", settings.vault.runner_addr),
        *(
            (name, address.key, address.value)
            for name, engine in engine_sections(settings)
            for address in engine.addresses()
            if not (address.may_be_socket and address.value.startswith("unix://"))
        ),
        ("forge", "url", settings.forge.url),
        ("trace", "endpoint", settings.trace.endpoint),
    )
    for section, key, address in addresses:
        if not address:
            continue
        if has_password(address):
            what = f"{section}.{key} contains a password"
            yield wrong(what, section, key, remedy="Take it out of the address")
        elif not is_http(address):
            what = f"{section}.{key} must start with http:// or https://"
            yield wrong(what, section, key, remedy="Write for example https://host:8200")


def _vault(settings: Settings) -> Iterator[Contradiction]:
    vault = settings.vault
    if vault.auth is VaultAuth.APPROLE:
        if not vault.role_id:
            remedy = "Set role_id in [vault]"
            yield wrong('auth = "approle" needs a role_id', "vault", "auth", remedy=remedy)
        if vault.secret_id_file is None:
            remedy = "Set secret_id_file in [vault]"
            yield wrong('auth = "approle" needs a secret_id_file', "vault", "auth", remedy=remedy)
    for key in ("kv_mount", "kv_prefix", "bots_prefix", "token_role", "transit_mount"):
        value = getattr(vault, key)
        if key == "token_role" and not value:
            continue  # it has a name by default
        if not value or value.strip("/") != value or "//" in value:
            what = f"vault.{key} is empty, or begins or ends with /"
            yield wrong(what, "vault", key, remedy="Write it without slashes around it")
    if vault.kv_prefix == vault.bots_prefix or vault.bots_prefix.startswith(f"{vault.kv_prefix}/"):
        yield wrong(
            "the dispatcher's own secrets (bots_prefix) are among those of actions (kv_prefix)",
            "vault",
            "bots_prefix",
            remedy="Give them a path of their own",
        )
    yield from dynamic_contradictions(vault)
    yield from derived_contradictions(vault, signing_key=settings.attestation.transit_key)


def _engines(settings: Settings) -> Iterator[Contradiction]:
    for name, section in engine_sections(settings):
        yield from section.contradictions(name, settings)


def _agent(settings: Settings) -> Iterator[Contradiction]:
    for index, argument in enumerate(settings.agent.command):
        for name in re.findall(r"\{(\w*)\}", argument):
            if name not in ("model", "tools"):
                yield wrong(
                    f"the agent command has no placeholder {{{name}}}",
                    "agent",
                    "command",
                    index,
                    remedy=did_you_mean(name, ["model", "tools"]) or "Known: {model} and {tools}",
                )


def _gate(settings: Settings) -> Iterator[Contradiction]:
    gate, signed, forge = settings.policy.gate, settings.signed, settings.forge
    if gate is GateKind.SIGNED and not (signed.allowed_signers or signed.gpg_fingerprints):
        yield wrong(
            'gate = "signed" requires trusted keys',
            "policy",
            "gate",
            remedy="Set allowed_signers, or gpg_home and gpg_fingerprints, in [signed]",
        )
    if signed.gpg_fingerprints and signed.gpg_home is None:
        yield wrong(
            "gpg_fingerprints is set, but gpg_home is not",
            "signed",
            "gpg_fingerprints",
            remedy="Set gpg_home in [signed]",
        )
    for index, fingerprint in enumerate(signed.gpg_fingerprints):
        if not re.fullmatch(r"([0-9A-Fa-f]{40}|[0-9A-Fa-f]{64})", fingerprint):
            what = f"{quoted(fingerprint)} is not a full fingerprint of a GPG key"
            remedy = "Write its 40 hexadecimal digits, without spaces"
            yield wrong(what, "signed", "gpg_fingerprints", index, remedy=remedy)
    if gate is GateKind.FORGEJO:
        for key, example in (("url", "https://forge.example"), ("repository", "owner/name")):
            if not getattr(forge, key):
                remedy = f'Set it in [forge], for example {key} = "{example}"'
                yield wrong(f'gate = "forgejo" needs forge.{key}', "policy", "gate", remedy=remedy)
    for key, form in (("repository", "owner/name"), ("approver_team", "org/team")):
        value = getattr(forge, key)
        if value and not re.fullmatch(r"[\w.-]+/[\w.-]+", value):
            yield wrong(
                f"forge.{key} is not of the form {form}", "forge", key, remedy=f"Write {form}"
            )


def _approvals(settings: Settings) -> Iterator[Contradiction]:
    """What approvals name must be one word, whether it is given or comes from the remote."""
    given, remote = settings.gate.repository, settings.ops_repo.remote
    if not given and not (remote and settings.policy.gate is GateKind.SIGNED):
        return
    name = repository_name(settings)
    if not re.fullmatch(r"[^\s@]+", name):
        whose = "" if given else ", which the remote gives,"
        yield wrong(
            f"{quoted(name)}{whose} cannot be the repository's name in an approval",
            *(("gate", "repository") if given else ("ops_repo", "remote")),
            remedy='Set repository in [gate] to a name without spaces and @, such as "acme/ops"',
        )


def _trusted_files(settings: Settings) -> Iterator[Contradiction]:
    """What decides over approval must not be where a merged pull request can change it."""
    remote = settings.ops_repo.remote
    within = [settings.state_dir / "ops.git"]
    if remote.startswith("/"):
        within.append(Path(remote))
    trusted: list[tuple[str, str, Path | None]] = [
        ("formulas", "path", settings.formulas.path),
        ("policy", "file", settings.policy.file),
        ("sidecars", "file", settings.sidecars.file),
        ("signed", "allowed_signers", settings.signed.allowed_signers),
        ("signed", "revoked_keys", settings.signed.revoked_keys),
        ("signed", "gpg_home", settings.signed.gpg_home),
    ]
    places: list[tuple[KeyPath, Path | None]] = [((s, key), path) for s, key, path in trusted]
    places += [
        (("notify", index, key), getattr(sink, key))
        for index, sink in enumerate(settings.notify)
        for key in ("template", "secret_file", "cacert")
    ]
    for place, path in places:
        if path is not None and any(_inside(path, folder) for folder in within):
            yield wrong(
                f"{place[0]}.{place[-1]} is inside the ops repo, where anybody who may merge an "
                "action could change it",
                *place,
                remedy="Keep it beside disinto.toml, outside the ops repo",
            )


def _sidecars(settings: Settings) -> Iterator[Contradiction]:
    if settings.sidecars.file is not None and not settings.forge.url:
        remedy = 'Set it in [forge], for example url = "https://forge.example"'
        yield wrong("sidecars.file needs forge.url", "sidecars", "file", remedy=remedy)


def _limits(settings: Settings) -> Iterator[Contradiction]:
    for name, most in settings.limits.formulas.items():
        if most < 1:
            what = f"limits.formulas.{name} must be at least 1"
            yield wrong(
                what, "limits", "formulas", name, remedy="Leave it out, or set a larger number"
            )


def _http(settings: Settings) -> Iterator[Contradiction]:
    listen = settings.http.listen
    match = re.fullmatch(r"(\[[0-9A-Fa-f:.]+\]|[^\[\]:\s]+):([0-9]{1,5})", listen)
    if listen and (match is None or int(match[2]) > 65_535):
        what = f"http.listen is {quoted(listen)}, which is not host:port"
        yield wrong(what, "http", "listen", remedy='Write for example listen = "127.0.0.1:8480"')


def _notify(settings: Settings) -> Iterator[Contradiction]:
    names: set[str] = set()
    for index, sink in enumerate(settings.notify):
        if sink.name in names:
            what = f"two sinks have the name {quoted(sink.name)}"
            yield wrong(what, "notify", index, "name", remedy="Give each a name of its own")
        names.add(sink.name)
        for each in mistakes(sink):
            yield wrong(each.message, "notify", index, *each.key, remedy=each.remedy)


_CHECKS: tuple[Callable[[Settings], Iterator[Contradiction]], ...] = (
    _log_level,
    _ops_repo,
    _addresses,
    _vault,
    class_contradictions,
    _engines,
    _agent,
    _gate,
    _approvals,
    _trusted_files,
    _sidecars,
    _http,
    web_contradictions,
    _limits,
    _notify,
)


def _is_branch(name: str) -> bool:
    """git-check-ref-format(1), as far as it concerns a branch's name."""
    bad = re.search(r"[\x00-\x20\x7f~^:?*\[\\]|\.\.|@\{|//|/\.|\.lock(/|$)", name)
    return bool(name) and not bad and not name.startswith(("-", "/", ".")) and name[-1] not in "/."


def _inside(path: Path, folder: Path) -> bool:
    return path.resolve().is_relative_to(folder.resolve())
