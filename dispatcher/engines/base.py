"""The interface of engines: a scheduler, which executes runs, and what the dispatcher needs
besides.

Contract suite of schedulers: ``tests/contract/scheduler.py``; every implementation passes it.
``registry`` finds engines by name.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from dispatcher.errors import NotFound, PermanentError
from dispatcher.model.job_class import RUNNER
from dispatcher.model.mounts import Mount
from dispatcher.model.payload import encode_payload
from dispatcher.model.progress import Progress
from dispatcher.model.run import (
    MAX_ARGUMENT_BYTES,
    Claim,
    Observation,
    RunKey,
    RunSpec,
    WrappedGrant,
)
from dispatcher.model.verdicts import Verdict

if TYPE_CHECKING:
    from dispatcher.ledger.base import Ledger
    from dispatcher.model.checks import Change, Check
    from dispatcher.model.job_class import JobVariant
    from dispatcher.settings import Settings
    from dispatcher.settings.section import EngineSection


class CannotSubmit(PermanentError):
    """This run can never be submitted as it is: payload too large, a mount that is not offered, …

    Attributes:
        verdict: ``invalid``, ``unplaceable`` or ``error``.
    """

    def __init__(self, what: str, *, verdict: Verdict, remedy: str | None = None) -> None:
        super().__init__(what, remedy=remedy)
        self.verdict = verdict


def payload_of(spec: RunSpec, grant: WrappedGrant) -> bytes:
    """The payload of a run for its runner.

    Raises:
        CannotSubmit: ``invalid``: it fits no payload, or no process can be started with it.
    """
    try:
        for name, text in _texts(spec):
            if len(text.encode("utf-8", "surrogateescape")) > MAX_ARGUMENT_BYTES:
                raise _invalid(
                    f"{name} is longer than the {MAX_ARGUMENT_BYTES:,} bytes that Linux allows"
                )
            if "\0" in text:
                raise _invalid(
                    f"{name} contains a NUL byte, which no argument or variable can hold"
                )
        return encode_payload(spec, grant)
    except (ValueError, TypeError, OverflowError, RecursionError) as error:
        raise _invalid(f"the run's input cannot be encoded ({error})") from None


def _texts(spec: RunSpec) -> Iterator[tuple[str, str]]:
    """Texts that become an argument or an environment variable, in the runner's spelling."""
    yield "the context", f"DISINTO_CONTEXT={spec.context}"
    yield "the list of tools", f"DISINTO_TOOLS={','.join(spec.tools)}"
    yield "the table params, as JSON,", f"DISINTO_PARAMS={json.dumps(spec.params)}"
    for index, argument in enumerate(spec.agent_argv):
        yield f"argument {index} of the agent command", argument


def _invalid(what: str) -> CannotSubmit:
    return CannotSubmit(
        what, verdict=Verdict.INVALID, remedy="Shorten it, or keep it in a repository."
    )


class TimesNotKept(NotFound):
    """There is output, but no record of when it was written.

    Args:
        stream: whose output.
        why: for people.
    """

    def __init__(self, stream: str, why: str) -> None:
        super().__init__(
            f"the time at which {stream} was written is unknown: {why}",
            remedy="Leave out --since; --tail N shows the end.",
        )


class Stream(StrEnum):
    STDOUT = "stdout"
    STDERR = "stderr"


@dataclass(frozen=True, kw_only=True, slots=True)
class LogChunk:
    """A piece of one stream, already redacted.

    Attributes:
        stream: which one.
        offset: bytes of that stream up to and including ``data``; pass it back to resume from here.
        data: the bytes.
    """

    stream: Stream
    offset: int
    data: bytes


class Scheduler(Protocol):
    """The operations of an engine. Methods are thread-safe.

    Every method raises ``Unavailable`` (scheduler) when the engine cannot be reached, ``Denied``
    when it denies permission.
    """

    def submit(self, spec: RunSpec, grant: WrappedGrant, *, again: bool = False) -> str:
        """Start a run once, and return the engine's id of it.

        Idempotent by ``spec.key``: a second call returns the id of the first and starts nothing.
        Returns only after the engine has answered that it has the run.

        Args:
            again: whether this run may have been submitted before, or may be at this moment, by us or
                by a former leader: then the engine's answer is confirmed. A first call for a claim
                that we have just made is the only one, so it costs nothing more.

        Raises:
            CannotSubmit: it can never be started as it is.
            Misconfigured: it cannot be started until a setting is fixed. Nothing was started.
        """
        ...

    def observe(self, claims: Collection[Claim]) -> Mapping[RunKey, Observation]:
        """Observe these runs, in a number of calls that does not grow with the unchanged ones. A
        run unknown to the engine is absent from the result. What is said may be some seconds old, but not
        after a call to the engine failed.
        """
        ...

    def told(self, notice: bytes) -> bool:
        """Take a runner's notice that its run has ended, so that the next ``observe`` reads its outcome.
        Does not block.

        Args:
            notice: as it was received; see ``runner.end_notice``.

        Returns:
            Whether it is from the runner of a run in flight.
        """
        ...

    def logs(
        self,
        claim: Claim,
        *,
        follow: bool = False,
        offsets: Mapping[Stream, int] | None = None,
    ) -> Iterator[LogChunk]:
        """Both streams from the given offsets; with ``follow`` until the run has ended.

        The iterator is empty if there is no log yet and ``follow`` is False.
        """
        ...

    def offsets_since(self, claim: Claim, since: float) -> Mapping[Stream, int]:
        """Offsets for ``logs`` at which the output written at or after a time begins, to within
        ``model.time_index.PRECISION_S``. Empty if there is no log yet.

        Args:
            since: seconds since the epoch.

        Raises:
            TimesNotKept: there is a log, but no record of when it was written.
        """
        ...

    def progress(self, claims: Collection[Claim]) -> Mapping[RunKey, Progress]:
        """What these runs last reported about themselves, by one small read each. A run that reported
        nothing, is unknown, or cannot be read now is absent from the result.
        """
        ...

    def cancel(self, claim: Claim, *, reason: str) -> None:
        """Stop a run that may be pending or running; its outcome becomes ``cancelled`` unless it
        had already ended. Returns without waiting for the end. Unknown runs are ignored.
        """
        ...

    def kept(self) -> Collection[RunKey]:
        """Runs with retained data that is due for removal: a run's files on this machine, in any
        state; a finished job past its retention time. Those without a claim whose result is in git
        may be forgotten.
        """
        ...

    def forget(self, claim: Claim) -> None:
        """Remove an ended run's data, except what is retained for people: its logs, or on Nomad
        the finished job, which ``kept`` returns when its retention is over. Unknown runs are
        ignored.
        """
        ...


class Administration(Protocol):
    """Sets up an engine's servers so that runs can start: plans first, then writes.

    Every method raises ``Unavailable``, ``Denied`` or ``Misconfigured`` for a server or its
    contents.
    """

    def plan(
        self,
        *,
        config_files: Mapping[str, str] | None,
        page_files: Mapping[str, str] | None = None,
        in_use: Callable[[], Collection[JobVariant]],
        remove_stale: bool = False,
    ) -> tuple[Change, ...]:
        """Compare with the settings; writes nothing.

        Args:
            config_files: text by name, for a job that runs the dispatcher itself; None leaves it out.
            page_files: the same for a job that runs the web page.
            in_use: returns the classes and mounts of open actions.
            remove_stale: delete what is ours and no longer used; otherwise it is reported.
        """
        ...

    def plan_removal(self) -> tuple[Change, ...]:
        """Plan the removal of what an earlier ``apply`` wrote and is provably ours; removes
        nothing yet.

        Raises:
            Conflict: runs are in progress.
        """
        ...

    def carry_out(self) -> tuple[str, ...]:
        """Carry out the last plan; returns warnings.

        Raises:
            Conflict: somebody changed something since.
        """
        ...

    def advice(self) -> str:
        """What an operator has to do elsewhere for the plan, or ""."""
        ...


class Engine(ABC):
    """An engine: opens its parts, and answers the commands' questions about it.

    Its module imports nothing heavy, because reading the settings imports it.

    Attributes:
        name: of its section in the settings, and ``engine.kind`` in results.
        title: its name in messages.
        section: the model of that section; ``EngineSection`` itself if it has no keys.
        administers: whether ``administration`` has anything to do.
        class_keys: keys of job classes that it applies, of ``settings.jobs.RESOURCES``; it ignores
            the others, which is reported.
    """

    name: str
    title: str
    section: type[EngineSection]
    administers: bool = False
    class_keys: frozenset[str] = frozenset()

    @abstractmethod
    def scheduler(
        self, settings: Settings, environ: Mapping[str, str], *, wake: Callable[[], None]
    ) -> Scheduler:
        """Where runs execute.

        Args:
            settings: all of them.
            environ: for tokens.
            wake: to be called when a run may have changed, from any thread.
        """

    def ledger(
        self,
        settings: Settings,
        environ: Mapping[str, str],
    ) -> Ledger:
        """The ledger of claims: SQLite in the state directory, unless the engine has a better one."""
        from dispatcher.ledger.sqlite import SqliteLedger

        return SqliteLedger(settings.state_dir)

    def mounts(self, settings: Settings) -> tuple[Mount, ...] | None:
        """The mounts that a run may have; None if the settings do not say."""
        return None

    def obstacle(
        self,
        settings: Settings,
        environ: Mapping[str, str],
    ) -> Callable[[JobVariant], str]:
        """Returns why no run of this class with these mounts can start now, with the remedy, or "".

        May query the engine's servers when called, and raise ``Unavailable`` or ``Denied``.
        """
        return lambda _variant: ""

    def warnings(self, scheduler: Scheduler) -> tuple[str, ...]:
        """Warnings that do not stop runs from starting, for ``status`` and ``plan``. Makes no
        calls."""
        return ()

    def checks(
        self,
        settings: Settings,
        environ: Mapping[str, str],
    ) -> Iterable[Check]:
        """What ``doctor`` checks, in the order in which to fix it."""
        return ()

    def administration(
        self,
        settings: Settings,
        environ: Mapping[str, str],
    ) -> Administration | None:
        """The work of ``apply``, with an operator's rights; None if there is none."""
        return None

    def drift(
        self,
        settings: Settings,
        environ: Mapping[str, str],
        in_use: Collection[JobVariant],
    ) -> tuple[Change, ...]:
        """What ``apply`` would change, as far as the dispatcher's own rights reveal."""
        return ()

    def agent_path(self, settings: Settings) -> str | None:
        """PATH on which this machine can look for the agent's command; None if it cannot."""
        return None

    def kill_grace_s(self, settings: Settings, job_class: str = RUNNER) -> float:
        """Seconds between TERM and KILL of a run of this class that is cancelled or whose time is over."""
        from dispatcher.settings.jobs import class_settings

        return class_settings(settings, job_class).kill_grace_s or 10.0

    def tidying_interval_s(self, settings: Settings) -> float:
        """Seconds between two calls of ``Scheduler.kept``."""
        return 3_600.0

    def without_retention(self, settings: Settings) -> Settings:
        """Settings for a run that leaves nothing behind: the trial run of ``doctor``."""
        return settings

    def web_url(self, settings: Settings, *, job: str, alloc: str) -> str:
        """Address of the engine's own page about a run; "" if it has none.

        Args:
            job, alloc: the engine's names, from a result or an observation; "" if unknown.
        """
        return ""

    def kept_logs(self, settings: Settings) -> Path | None:
        """Directory on this machine with full logs of ended runs, laid out as the local engine does;
        None if there is none.
        """
        return None

    def kept_output(self, settings: Settings) -> str:
        """Where the full output of an ended run comes from, in words."""
        return f"from {self.title}, which still has it"

    def no_kept_output(self, settings: Settings) -> str:
        """Why there is no full output of an ended run, in words."""
        return f"{self.title} keeps none"
