"""The formula ``release``: deploys an application on several machines, one after another, over SSH.

All machines get one commit: the head that the first one finds, or the one that the params name. The run
stops at the first machine that does not end on it, so that the remaining machines are left unchanged. On
each machine ``disinto release deploy`` does the work and knows the way back.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from pydantic import Field, model_validator

from dispatcher.errors import Exit, PermanentError, TemporaryError, reason_of
from dispatcher.provision.params import Strict
from dispatcher.provision.reporting import Reporter
from dispatcher.provision.waiting import Clock
from dispatcher.release.outcome import Outcome
from dispatcher.release.settings import is_name

MACHINE = re.compile(r"([a-z_][a-z0-9_-]{0,31}@)?[A-Za-z0-9][A-Za-z0-9.-]{0,252}", re.ASCII)
_COMMIT = re.compile(r"[0-9a-f]{40}([0-9a-f]{24})?", re.ASCII)
_HELD_PAUSE_S, _HELD_S = 10.0, 900.0
_TIMEOUT_S = 7200.0
_DRAIN_S = 10.0
_LONGEST_S = 1e9  # no NaN or infinity, which JSON lacks
OUTPUT_LIMIT = 256 * 1024
"""Bytes of what a machine answers that are kept."""
_SSH = 255
"""Exit code of ssh(1) if the connection failed."""
_TEXTS = ("outcome", "commit", "previous", "wanted", "message", "started", "ended")
_SHOWN = 500
_GOOD = (Outcome.DEPLOYED, Outcome.UP_TO_DATE)


class MachineFailed(PermanentError):
    """A machine did not end on the new commit."""

    exit_code = Exit.FAILED


class MachineUnreachable(TemporaryError):
    """A machine cannot be reached."""

    exit_code = Exit.UNAVAILABLE


class ReleaseParams(Strict):
    """``[params]`` of ``release``; docs/releases.md explains them."""

    app: str
    machines: tuple[str, ...] = Field(min_length=1, max_length=50)
    canary: str = ""
    canary_wait: int = Field(default=0, ge=0, le=1440)
    commit: str = ""
    force: bool = False

    @model_validator(mode="after")
    def _machines(self) -> ReleaseParams:
        if not is_name(self.app):
            raise ValueError("app is not a name of an application")
        for name in self.machines:
            if not MACHINE.fullmatch(name):
                raise ValueError("a machine is neither HOST nor USER@HOST")
        if len(set(self.machines)) != len(self.machines):
            raise ValueError("a machine is named twice")
        if self.canary and self.canary not in self.machines:
            raise ValueError("the canary is none of the machines")
        if self.canary_wait and not self.canary:
            raise ValueError("canary_wait without a canary")
        if self.commit and not _COMMIT.fullmatch(self.commit):
            raise ValueError("commit is not the whole hash of a commit")
        return self

    @property
    def ordered(self) -> list[str]:
        """The machines, the canary first."""
        first = [self.canary] if self.canary else []
        return first + [name for name in self.machines if name != self.canary]


@dataclass(frozen=True, kw_only=True, slots=True)
class _At:
    """How far the run is."""

    value: str
    percent: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """What a command on a machine answered."""

    code: int
    out: bytes


Call = Callable[[str, Sequence[str]], Answer]
"""Runs a command on a machine, see ``ssh``."""


def release(params: ReleaseParams, call: Call, reporter: Reporter, clock: Clock) -> None:
    """Deploy on each machine; the outputs have a result for each that was reached.

    Raises:
        MachineFailed: one did not end on the new commit.
        MachineUnreachable: one could not be reached.
        Cancelled: between two machines.
    """
    ordered, commit = params.ordered, params.commit
    results: dict[str, Mapping[str, Any]] = {}
    for number, machine in enumerate(ordered):
        left = ordered[number + 1 :]
        percent = 100 * number // len(ordered)
        reporter.progress(_At(value="deploying", percent=percent), machine)
        clock.sleep(0)
        answer = _deploy(params, machine, commit, call, clock)
        results[machine] = result = _result(answer)
        reporter.outputs({"machines": results, "not_tried": left})
        reporter.say(f"{machine}: {result['outcome']}: {result.get('message', '')}")
        if result["outcome"] not in _GOOD:
            raise _failure(machine, answer, result, left)
        if commit and commit not in (result["commit"], result.get("wanted")):
            raise _other_commit(machine, result, commit, left)
        commit = commit or result["commit"]
        if left and machine == params.canary and params.canary_wait:
            reporter.progress(_At(value="waiting", percent=percent), f"{params.canary_wait} min")
            clock.sleep(60.0 * params.canary_wait)
    reporter.progress(_At(value="done", percent=100), "")


def ssh(machine: str, command: Sequence[str]) -> Answer:
    """Run a command by ssh(1); its stderr is the run's. Host keys must be known."""
    options = ("BatchMode=yes", "StrictHostKeyChecking=yes", "ConnectTimeout=20", "ConnectionAttempts=3",
               "ServerAliveInterval=15", "ServerAliveCountMax=8")  # fmt: skip
    words = [word for option in (*options, *_of_home()) for word in ("-o", option)]
    try:
        return bounded(("ssh", "-T", *words, "--", machine, *command), timeout_s=_TIMEOUT_S)
    except OSError as error:
        raise MachineUnreachable(
            f"ssh: {reason_of(error)}", remedy="Install OpenSSH's client."
        ) from None


def bounded(command: Sequence[str], *, timeout_s: float) -> Answer:
    """Run a command; of its output the beginning is kept, and the rest read and dropped.

    Raises:
        OSError: it could not be started.
    """
    kept = bytearray()
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None  # noqa: S101 - as asked above
        reading = threading.Thread(target=_read, args=(process.stdout, kept), daemon=True)
        reading.start()
        try:
            code = process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            process.kill()
            return Answer(code=_SSH, out=b"")
        except BaseException:
            process.kill()
            raise
        reading.join(_DRAIN_S)
        return Answer(code=code, out=bytes(kept))


def _read(stream: IO[bytes], kept: bytearray) -> None:
    while data := os.read(stream.fileno(), OUTPUT_LIMIT):
        kept += data[: OUTPUT_LIMIT - len(kept)]


def _of_home() -> list[str]:
    """Options for the keys and known hosts in HOME, where the mount is: ssh(1) goes by the account's
    home instead.
    """
    directory = Path(os.environ.get("HOME", "/")) / ".ssh"
    keys = [directory / f"id_{kind}" for kind in ("ed25519", "ecdsa", "rsa")]
    options = [f"IdentityFile={key}" for key in keys if key.is_file()]
    return [*options, f"UserKnownHostsFile={directory / 'known_hosts'}"]


def _deploy(params: ReleaseParams, machine: str, commit: str, call: Call, clock: Clock) -> Answer:
    """Deploy on one machine, after the deploy that may run there."""
    command = ["disinto", "release", "deploy", "--app", params.app, "--json"]
    command += ["--commit", commit] if commit else []
    command += ["--force"] if params.force else []
    until = clock.now() + _HELD_S
    while True:
        answer = call(machine, command)
        if answer.code != Exit.TEMPFAIL or clock.now() >= until:
            return answer
        clock.sleep(_HELD_PAUSE_S)


def _result(answer: Answer) -> dict[str, Any]:
    """The result of a machine. What it answers is not trusted: only known fields, and bounded."""
    try:
        said = json.loads(answer.out)
        outcome = Outcome(said["outcome"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return {"outcome": "unknown", "exit_code": answer.code}
    result: dict[str, Any] = {
        key: _line(said[key]) for key in _TEXTS if isinstance(said.get(key), str) and said[key]
    }
    down = said.get("down_s")
    if isinstance(down, (int, float)) and not isinstance(down, bool) and 0 <= down < _LONGEST_S:
        result["down_s"] = down
    known = outcome not in _GOOD or _COMMIT.fullmatch(result.get("commit", ""))
    if answer.code != outcome.exit_code or not known:
        result["outcome"] = "unknown"
    return {**result, "exit_code": answer.code}


def _line(text: str) -> str:
    return "".join(char if char.isprintable() else " " for char in text[:_SHOWN])


def _other_commit(
    machine: str, result: Mapping[str, Any], commit: str, left: Sequence[str]
) -> MachineFailed:
    kept = f"; not tried: {', '.join(left)}" if left else ""
    return MachineFailed(
        f"{machine}: {result['outcome']} {result['commit'][:12]}, in place of {commit[:12]}{kept}",
        remedy="Its authorized_keys fixes the command, or its disinto is older: docs/releases.md.",
    )


def _failure(
    machine: str, answer: Answer, result: Mapping[str, Any], left: Sequence[str]
) -> PermanentError | TemporaryError:
    kept = f"; not tried: {', '.join(left)}" if left else ""
    if answer.code == _SSH:
        return MachineUnreachable(
            f"{machine}: the connection by SSH failed{kept}",
            remedy="The mount ssh needs a key that the machine accepts, and its host key.",
        )
    if result["outcome"] == "unknown":
        what = f"{machine}: 'disinto release deploy' ended with {answer.code}{kept}"
        return MachineFailed(what, remedy="The output above shows why.")
    return MachineFailed(f"{machine}: {result['outcome']}{kept}")
