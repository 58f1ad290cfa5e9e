"""The runner's program, from its payload to ``outcome.json``, for every way it may end."""

from __future__ import annotations

import errno
import os
import sys
import time
from collections.abc import Sequence
from contextlib import suppress

from dispatcher.errors import DisintoError, Exit, PermanentError, TemporaryError
from dispatcher.host.process_record import encode_record, own_record
from dispatcher.model.payload import IncompletePayload, decode_payload
from dispatcher.model.progress import FILE_NAME
from dispatcher.model.run import Outcome, RunSpec
from dispatcher.model.time_index import index_name
from dispatcher.model.verdicts import Verdict
from dispatcher.runner import credentials, formula
from dispatcher.runner.collected import await_collected
from dispatcher.runner.dynamic import Fetched, ended_before, variables
from dispatcher.runner.end_notice import send_end_notice
from dispatcher.runner.memory import Memory
from dispatcher.runner.options import USAGE, BadUsage, Options, parse
from dispatcher.runner.outcome import OutcomeFile, Tail, encode_short, read_outputs
from dispatcher.runner.process import end_all, guard_runner, spawn
from dispatcher.runner.progress import EVERY_S, ProgressFile
from dispatcher.runner.redact import Redactor, Secrets
from dispatcher.runner.streams import Sink, Stream, log_file, sink_for
from dispatcher.runner.supervise import End, Signals, Stopped, Supervision
from dispatcher.runner.time_marks import TimeMarks

_STREAMS = ("stdout", "stderr")
_SIGNAL_LIMIT = 64  # of exit codes above 128, those that a shell uses for signals


class CannotReport(PermanentError):
    """No outcome could be written, so the formula must not start."""

    exit_code = Exit.IOERR


def main(argv: list[str] | None = None) -> int:
    """Run one formula.

    Returns:
        The formula's exit code, or that of the verdict, or one of sysexits(3).
    """
    try:
        options = parse(sys.argv[1:] if argv is None else argv)
    except BadUsage as error:
        _tell(f"{error}\n{USAGE}")
        return error.exit_code
    signals = Signals()
    guard_runner()
    run = _Run(options, signals)
    try:
        outcome = _outcome(run, options, signals)
    except Stopped:
        outcome = _cancelled(options)
    except (IncompletePayload, CannotBegin) as error:
        # The writer is dead. Nothing was started, and nothing may look as if.
        _tell(f"disinto: {error}")
        return error.exit_code
    if outcome.error:
        run.tell(f"disinto: {outcome.error}")
    try:
        written = run.outcome_file.write(outcome, key=run.outcome_key)
    except OSError as error:
        _tell(f"disinto: {options.outcome} cannot be written: {error.strerror}")
        return outcome.exit_code or Exit.IOERR
    is_long = not outcome.short_output and any(size for size, _ in outcome.written.values())
    # The engine may not have all of a long log yet: reading the outcome gives it time.
    sent = written if run.notice_has_outcome and not is_long else b""
    send_end_notice(run.listener_url, outcome=sent, key=run.outcome_key, clean=run.clean)
    if not options.spool and outcome.written:
        run.await_collected(outcome)
    return outcome.exit_code


def _outcome(run: _Run, options: Options, signals: Signals) -> Outcome:
    try:
        return run.carry_out()
    except IncompletePayload as error:
        if options.payload:
            return _not_started(error.exit_code, str(error))
        raise
    except Stopped:
        return _cancelled(options)
    except DisintoError as error:
        return _not_started(error.exit_code, str(error))
    except Exception as error:  # noqa: BLE001 - an outcome is owed whatever happens
        return _unforeseen(run, options, error)
    finally:
        signals.mute()
        run.clean_up()


def _unforeseen(run: _Run, options: Options, error: Exception) -> Outcome:
    if run.begun or not isinstance(error, OSError):
        return run.defect(error)
    why = f"the run cannot be prepared: {error.strerror}"
    if options.spool:
        raise CannotBegin(why) from None  # the engine may start the runner again
    return _not_started(Exit.IOERR, why)


def _cancelled(options: Options) -> Outcome:
    return Outcome(
        verdict=Verdict.CANCELLED,
        exit_code=Verdict.CANCELLED.exit_code,
        error=_reason(options),
    )


def _not_started(code: int, error: str) -> Outcome:
    return Outcome(verdict=Verdict.ERROR, exit_code=code, error=error)


class CannotBegin(TemporaryError):
    """The machine lacks a resource (space, descriptors), and the grant is unused."""


class _Run:
    """The steps of one run, and their cleanup.

    Attributes:
        outcome_file: open once the formula may start.
        outcome_key, listener_url, notice_has_outcome: of the payload; empty until it is read.
        begun: True from right before the grant is used.
        clean: True once it is known that none of the formula's processes is left: one could put anything in
            the place of what the runner left.
    """

    def __init__(self, options: Options, signals: Signals) -> None:
        self.outcome_file = OutcomeFile(options.outcome)
        self.outcome_key = self.listener_url = ""
        self.notice_has_outcome = False
        self._options = options
        self._signals = signals
        self._workspace: formula.Workspace | None = None
        self._started_at = 0.0
        self._marks: list[TimeMarks] = []
        self.begun = self.clean = False

    def carry_out(self) -> Outcome:
        """Payload, formula, grant, then the run itself; each step may stop it."""
        options = self._options
        if options.lock_fd >= 0:
            _announce(options.lock_fd)
        payload = decode_payload(_read_payload(options.payload))
        self.outcome_key = payload.spec.outcome_key
        self.listener_url = payload.spec.listener_url
        self.notice_has_outcome = payload.spec.notice_has_outcome
        if options.cancel_reason and os.path.exists(options.cancel_reason):  # noqa: PTH110
            raise Stopped
        spec = payload.spec
        texts = formula.load(spec, ops_repo=options.ops_repo)
        base = f"{options.spool}/private" if options.spool else ""
        self._workspace = workspace = formula.make_workspace(base)
        formula.environment(spec, workspace, dict.fromkeys(_variables(spec), ""))
        formula.write_files(workspace, texts.files)
        argv, stdin = formula.command(spec, texts.formula, workspace, prefix=options.sandbox)
        self._open_outcome()
        fetched = credentials.fetch(payload, before_unwrap=self._mark_started)
        env = formula.environment(spec, workspace, fetched.values)
        files = [stdin]
        if formula.is_handed_over(spec, prefix=options.sandbox):
            env = formula.environment(spec, workspace, {})
            files.append(formula.as_variables(fetched.values))
        return self._execute(spec, argv, files, env, fetched)

    def _open_outcome(self) -> None:
        try:
            self.outcome_file.open()
        except OSError as error:
            raise CannotReport(
                f"{self._options.outcome} cannot be written: {error.strerror}",
                remedy="Look at the free space and the permissions of its directory.",
            ) from None

    def _mark_started(self) -> None:
        """From here on the grant may be used up, so the run counts as begun."""
        if self._options.started_marker:
            flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC
            os.close(os.open(self._options.started_marker, flags, 0o600))
        self.begun = True

    def _execute(
        self,
        spec: RunSpec,
        argv: list[str],
        files: Sequence[int],
        env: dict[str, str],
        fetched: Fetched,
    ) -> Outcome:
        """Run the formula. ``files``: descriptors of its standard input, and of those from 3 on."""
        secrets = Secrets({name: value.encode() for name, value in fetched.values.items()})
        workspace = self._workspace
        assert workspace is not None  # noqa: S101 - made before
        tail = Tail()
        streams = [
            Stream(Redactor(secrets), sink, tail, marks)
            for sink, marks in zip(self._sinks(), self._time_marks(), strict=True)
        ]
        self._signals.quiet()
        memory = Memory()
        self._started_at = time.time()
        try:
            pid = self._start(argv, files, env, streams)
        except OSError as error:
            why = f"{argv[0]} cannot be started: {error.strerror}"
            if error.errno == errno.E2BIG:
                why += " (the secrets and the action's texts, as environment variables)"
            return _not_started(Exit.SOFTWARE if self._options.sandbox else Exit.DATAERR, why)
        progress = ProgressFile(
            workspace.progress,
            f"{self._directory}/{FILE_NAME}",
            secrets=secrets,
            key=self.outcome_key,
        )
        sandbox = os.path.basename(self._options.sandbox[0]) if self._options.sandbox else ""  # noqa: PTH119
        end = Supervision(
            pid,
            streams,
            self._signals,
            timeout_s=spec.timeout_s,
            grace_s=spec.kill_grace_s,
            spare=sandbox,
            tick=progress.look,
            tick_s=EVERY_S,
        ).run()
        written = {n: stream.sink.written for n, stream in zip(_STREAMS, streams, strict=True)}
        outputs, trouble = read_outputs(workspace.outputs, secrets)
        verdict, code, number = _verdict(end, sandboxed=bool(sandbox))
        if verdict is Verdict.FAILED:
            lapsed = ended_before(
                fetched.leases, started_at=self._started_at, finished_at=end.finished_at
            )
            trouble = memory.ran_out() or lapsed or trouble
        return Outcome(
            verdict=verdict,
            exit_code=code,
            signal=number,
            formula_started=True,
            error=self._why(verdict, spec, end) or trouble,
            started_at=self._started_at,
            finished_at=end.finished_at,
            logs=tail.text(secrets),
            outputs=outputs,
            written={name: each.report for name, each in written.items()},
            short_output=encode_short({name: each.whole for name, each in written.items()}),
        )

    def _start(
        self, argv: list[str], files: Sequence[int], env: dict[str, str], streams: Sequence[Stream]
    ) -> int:
        """Start the first process; returns its id. Raises ``OSError`` if it cannot be executed."""
        workspace = self._workspace
        assert workspace is not None  # noqa: S101 - made before
        pid = spawn(
            argv,
            env=env,
            cwd=workspace.work,
            stdin=files[0],
            stdout=streams[0].child_end,
            stderr=streams[1].child_end,
            more=files[1:],
            mark=workspace.work if self._options.spool else "",
        )
        for file in files:
            os.close(file)
        for stream in streams:
            stream.started()
        return pid

    def _sinks(self) -> list[Sink]:
        options = self._options
        if not options.spool:
            return [sink_for(1), sink_for(2)]
        return [
            log_file(f"{options.spool}/{name}.log", limit=options.log_limit) for name in _STREAMS
        ]

    def tell(self, text: str) -> None:
        """Report to the engine's log; in a job that is the formula's stderr."""
        if self._marks and not self._options.spool:
            self._marks[1].note(_line(text))
        _tell(text)

    @property
    def _directory(self) -> str:
        """Where the engine reads what the runner leaves."""
        return os.path.dirname(self._options.outcome) or "."  # noqa: PTH120

    def await_collected(self, outcome: Outcome) -> None:
        """In a job: stay until the engine has the output; the outcome is written by now."""
        written = {name: size for name, (size, _) in outcome.written.items()}
        await_collected(self._directory, written, task=os.environ.get("NOMAD_TASK_NAME", ""))

    def _time_marks(self) -> list[TimeMarks]:
        self._marks = [TimeMarks(f"{self._directory}/{index_name(name)}") for name in _STREAMS]
        return self._marks

    def _why(self, verdict: Verdict, spec: RunSpec, end: End) -> str:
        reason = ""
        if verdict is Verdict.TIMED_OUT:
            reason = f"ended at its timeout of {spec.timeout_s} s"
        elif verdict is Verdict.CANCELLED:
            reason = _reason(self._options)
        if end.survivors:
            reason += (
                "; some of its processes could not be killed" if reason else "processes are left"
            )
        return reason

    def defect(self, error: Exception) -> Outcome:
        """An outcome for an unexpected error. Its text is left out: it may contain a secret."""
        import traceback

        lines = traceback.format_tb(error.__traceback__)
        _tell("".join(lines) + type(error).__name__)
        return Outcome(
            verdict=Verdict.ERROR,
            exit_code=Exit.SOFTWARE,
            formula_started=bool(self._started_at),
            error=f"internal error in the runner: {type(error).__name__}",
            started_at=self._started_at,
            finished_at=time.time() if self._started_at else 0.0,
        )

    def clean_up(self) -> None:
        """Leave no process and no private directory behind. A failure does not affect the outcome."""
        try:
            self.clean = end_all() if self._started_at else True
            left = formula.remove_workspace(self._workspace) if self._workspace is not None else ""
        except Exception as error:  # noqa: BLE001
            left = f"internal error in the runner: {type(error).__name__}"
        if left:
            self.tell(f"disinto: the run's private directory cannot be removed: {left}")


def _verdict(end: End, *, sandboxed: bool) -> tuple[Verdict, int, int | None]:
    """Verdict, exit code and signal. A sandbox reports a signal as a shell does, by 128 + n."""
    code = os.waitstatus_to_exitcode(end.status) if end.status is not None else -9
    number = -code if code < 0 else None
    if number is None and sandboxed and 128 < code <= 128 + _SIGNAL_LIMIT:
        number = code - 128
    for happened, verdict in (
        (end.timed_out, Verdict.TIMED_OUT),
        (end.cancelled, Verdict.CANCELLED),
    ):
        if happened:
            return verdict, verdict.exit_code, number
    if code == 0:
        return Verdict.SUCCEEDED, 0, None
    return Verdict.FAILED, 128 - code if code < 0 else code, number


def _variables(spec: RunSpec) -> list[str]:
    try:
        return variables(spec)
    except ValueError as clash:
        raise formula.BadFormula(str(clash), remedy="Name one of them.") from None


def _announce(lock_fd: int) -> None:
    """Record in the lock file who holds it, and withhold it from child processes."""
    os.set_inheritable(lock_fd, False)  # noqa: FBT003
    os.ftruncate(lock_fd, 0)
    os.pwrite(lock_fd, encode_record(own_record()), 0)


def _read_payload(path: str) -> bytes:
    if not path:
        with open(0, "rb", closefd=False) as stream:
            data = stream.read()
        null = os.open("/dev/null", os.O_RDONLY)
        os.dup2(null, 0)
        os.close(null)
        return data
    with open(path, "rb") as file:  # noqa: PTH123
        data = file.read()
    # The wrapping token is about to become useless; still, leave no copy of it.
    with suppress(OSError):
        with open(path, "r+b") as file:  # noqa: PTH123
            file.write(b"\0" * len(data))
        os.truncate(path, 0)
    with suppress(OSError):
        os.unlink(path)  # noqa: PTH108
    return data


def _reason(options: Options) -> str:
    if options.cancel_reason:
        with suppress(OSError), open(options.cancel_reason, encoding="utf-8") as file:  # noqa: PTH123
            return file.read().strip() or "cancelled"
    return "stopped by a signal"


def _tell(text: str) -> None:
    with suppress(OSError):
        os.write(2, _line(text))


def _line(text: str) -> bytes:
    return text.encode("utf-8", "replace") + b"\n"
