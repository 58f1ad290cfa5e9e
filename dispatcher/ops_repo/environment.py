"""The environment of git processes.

Of the dispatcher's variables only those that reach a server (proxies, certificates, ssh agent) are
handed on, and none of these for a remote that is a path, so that no token of the dispatcher's is seen
by git, by ssh or by the hooks of such a remote. The user's and the system's git configuration are not
read.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

from dispatcher.ops_repo import fsck
from dispatcher.ops_repo.transport import Transport

_HANDED_ON = ("PATH", "HOME", "USER", "LOGNAME", "TMPDIR", "GIT_EXEC_PATH")

_TO_REACH_SERVERS = (
    "SSH_AUTH_SOCK", "SSL_CERT_FILE", "SSL_CERT_DIR", "GIT_SSL_CAINFO", "GIT_SSL_CAPATH", "GIT_SSH",
    "http_proxy", "https_proxy", "no_proxy", "all_proxy",
    "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY",
)  # fmt: skip  # fmt: skip

_CONFIG: Mapping[str, str] = {
    # No hook or command of a repository may run.
    "core.hooksPath": "/dev/null",
    "core.fsmonitor": "false",
    "credential.helper": "",
    "core.askPass": "",
    # Maintenance is ours (``upkeep``): it never blocks a fetch or a commit.
    "gc.auto": "0",
    "maintenance.auto": "false",
    # Received objects are checked, and only known transports are used.
    "transfer.fsckObjects": "true",
    "fetch.fsckObjects": "true",
    **fsck.ACCEPTED,
    "protocol.allow": "never",
    "protocol.file.allow": "always",
    "protocol.ssh.allow": "always",
    "protocol.https.allow": "always",
    "protocol.http.allow": "always",
    "protocol.version": "2",
    "http.followRedirects": "false",
    # A silent remote is abandoned, also by a git whose dispatcher was killed.
    "http.lowSpeedLimit": "1",
    "http.lowSpeedTime": "30",
    "core.compression": "1",
    # The clone can be rebuilt at any time, so objects are not synced to disk. Its refs are: one of
    # them is part of the record of what ran.
    "core.fsync": "reference,-objects,-derived-metadata",
    "core.logAllRefUpdates": "false",
    "core.quotePath": "false",
    "fastimport.unpackLimit": "100",
    "fetch.writeCommitGraph": "false",
    "log.showSignature": "false",
    "log.mailmap": "false",
    "push.gpgSign": "false",
    "push.recurseSubmodules": "no",
    "submodule.recurse": "false",
    "fetch.recurseSubmodules": "false",
    "gpg.x509.program": "false",
    "i18n.logOutputEncoding": "UTF-8",
}


def base(transport: Transport, timeout_s: float) -> dict[str, str]:
    """Variables of every git process for a remote of this transport.

    Args:
        timeout_s: seconds that a command with the remote may take.
    """
    reached = () if transport is Transport.PATH else _TO_REACH_SERVERS
    names = (*_HANDED_ON, *reached)
    env = {name: os.environ[name] for name in names if name in os.environ}
    connect = max(1, min(15, int(timeout_s)))
    ssh = os.environ.get("GIT_SSH_COMMAND", "ssh")
    if "GIT_SSH" not in env:
        env["GIT_SSH_COMMAND"] = (
            f"{ssh} -o BatchMode=yes -o ConnectTimeout={connect}"
            " -o ServerAliveInterval=15 -o ServerAliveCountMax=2"
        )
    env |= {
        "LC_ALL": "C",
        "LANGUAGE": "",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": "/dev/null",
        "GIT_ATTR_NOSYSTEM": "1",
        "GIT_NO_REPLACE_OBJECTS": "1",
        "GIT_LITERAL_PATHSPECS": "1",
        "GIT_OPTIONAL_LOCKS": "0",
        "GIT_ADVICE": "0",
        "GIT_DEFAULT_REF_FORMAT": "files",  # refs are read, and some written, as files
    }
    return env


def of_remote(variables: Mapping[str, str]) -> dict[str, str]:
    """Those of ``base`` that ``git push`` hands on to ``git receive-pack`` of a remote that is a path: its hooks
    and its configuration count there, not ours.
    """
    return {name: value for name, value in variables.items() if name != "GIT_NO_REPLACE_OBJECTS"}


def configured(config: Mapping[str, str]) -> dict[str, str]:
    """Variables that carry our configuration of git, and additional keys."""
    keys = {**_CONFIG, **config}
    env = {"GIT_CONFIG_COUNT": str(len(keys))}
    for number, (key, value) in enumerate(keys.items()):
        env[f"GIT_CONFIG_KEY_{number}"] = key
        env[f"GIT_CONFIG_VALUE_{number}"] = value
    return env
