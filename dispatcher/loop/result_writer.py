"""The only writer to git: results, ``<id>.result.json`` beside each action, and the actions that the
dispatcher writes itself.

The writer batches both for up to 200 ms into one commit. It holds no state that could be lost: a
result that could not be pushed is reported back to the loop, is still in the ledger, and is queued
again by the loop; an action is wanted again by its source.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Protocol

from dispatcher.errors import Misconfigured, unexpected
from dispatcher.model.inventory import Change
from dispatcher.model.inventory_entry import entry_path, rendered, trailer
from dispatcher.model.paths import ACTION_ENDING, ACTIONS_PATH, result_name
from dispatcher.model.result import Result, ResultOutput, ended_result, parse_result
from dispatcher.model.run import Claim
from dispatcher.ops_repo import NewFile, OpsRepo, OutputsRefused, Published

if TYPE_CHECKING:
    from dispatcher.loop.output_keeping import Outputs

WINDOW_S = 0.2
"""Seconds the writer waits for more results after the first of a batch."""

ACTION_WINDOW_S = 0.02
"""The same for an action, which somebody waits for: those of one look come together."""

BATCH_LIMIT = 1_000
"""Maximum results in one commit."""

BATCH_BYTES = 32 * 1024 * 1024
"""Bytes of output after which no further result is added to a batch."""


def result_path(action_id: str) -> str:
    """The path of an action's result in the ops repo."""
    return f"{ACTIONS_PATH}/{result_name(action_id)}"


def action_path(action_id: str) -> str:
    """The path of an action in the ops repo."""
    return f"{ACTIONS_PATH}/{action_id}{ACTION_ENDING}"


@dataclass(frozen=True, kw_only=True, slots=True)
class NewAction:
    """An action that the dispatcher writes itself, on its way to git; never replaces a file.

    Attributes:
        action_id: its id.
        text: the file without its signature.
        origin: what it is written for, for the commit's message: ``schedule nightly``.
    """

    action_id: str
    text: str
    origin: str

    @property
    def path(self) -> str:
        """In the ops repo."""
        return action_path(self.action_id)

    @property
    def output(self) -> None:
        """It has none yet."""
        return


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """One result on its way to git.

    Attributes:
        action_id: whose it is.
        text: the file's text, as the ledger has it.
        policies: of the grant, for the attestation.
        output: that the result names, and that is not on the remote yet.
        blob: git blob hash (hex) of the action, if the text is the result of a claim: it then
            replaces a file that is not ours. "" for an action that was never claimed: then an
            existing file stays.
    """

    action_id: str
    text: str
    policies: tuple[str, ...] = ()
    blob: str = ""
    output: ResultOutput | None = None

    @property
    def path(self) -> str:
        """In the ops repo."""
        return result_path(self.action_id)

    @classmethod
    def of(cls, claim: Claim) -> Entry:
        """The result that a claim holds."""
        return cls(
            action_id=claim.key.action_id,
            text=claim.result,
            policies=claim.grant.policies if claim.grant else (),
            blob=claim.key.blob,
            output=_output(claim),
        )


def _output(claim: Claim) -> ResultOutput | None:
    """What a claim's result names and is to be pushed; nothing of a tombstone, whose result is
    restored as it was.
    """
    result = ended_result(claim) if claim.formula else None
    output = result.output if result is not None else None
    return output if output is not None and output.month else None


@dataclass(frozen=True, kw_only=True, slots=True)
class Pushed:
    """The outcome of a batch: ``published`` on success, else ``error``."""

    entries: tuple[Entry | NewAction, ...]
    published: Published | None = None
    error: Exception | None = None

    def of(self, path: str) -> str:
        """The id whose result is at a path; "" if it is none of this batch."""
        return next((e.action_id for e in self.entries if e.path == path), "")

    @property
    def results(self) -> list[Entry]:
        """Those that are results."""
        return [e for e in self.entries if isinstance(e, Entry)]

    @property
    def actions(self) -> list[NewAction]:
        """Those that are actions."""
        return [e for e in self.entries if isinstance(e, NewAction)]

    def refused(self) -> tuple[str, ...]:
        """Ids of the actions in whose place something was."""
        skipped = frozenset(self.published.skipped if self.published else ())
        return tuple(action.action_id for action in self.actions if action.path in skipped)

    def brought(self) -> tuple[str, ...]:
        """Ids of the actions that it brought to the branch; not of those whose place was taken."""
        written = frozenset(self.published.written if self.published else ())
        return tuple(action.action_id for action in self.actions if action.path in written)


Sign = Callable[[Entry], str]
"""Makes the file's final text: signs it, if results are signed. Only for results that we made."""

SignAction = Callable[[str], str]
"""Signs the text of an action that we made."""


class Verifier(Protocol):
    """Distinguishes our results from others: anybody may have written what is read from git."""

    @property
    def signs(self) -> bool:
        """Whether results are signed at all."""
        ...

    def can_prove(self) -> bool:
        """False if results are not signed, or no key was ever made: then no file can be proven to
        be ours, and none can be proven foreign. Raises what ``ours`` raises.
        """
        ...

    def ours(self, data: bytes, *, action_id: str, blob: str | None) -> bool:
        """Whether we signed exactly these bytes as the result of this action.

        Args:
            data: the bytes of a result file.
            action_id: the id.
            output: that the result names, and that is not on the remote yet.
        blob: git blob hash (hex) of the action; None for any.

        Raises:
            Unavailable, Denied: Vault has the key and cannot be reached.
            Misconfigured: the key cannot be used.
        """
        ...


class Unsigned:
    """The verifier of a dispatcher that does not sign: no file is proven to be ours."""

    @property
    def signs(self) -> bool:
        """False."""
        return False

    def can_prove(self) -> bool:
        """False."""
        return False

    def ours(self, data: bytes, *, action_id: str, blob: str | None) -> bool:  # noqa: ARG002
        """Never."""
        return False


class ResultWriter:
    """Writes results and actions to the ops repo, in batches, on its own thread. ``put`` never
    blocks.

    A result whose output cannot be pushed is not pushed either: it is reported with the error
    ``OutputsRefused``, and has to be made again.

    Args:
        repo: the ops repo.
        sign_result: called once for each result of a batch, before the commit.
        sign_action: the same for actions.
        verifier: checks an existing file in the place of a run's result.
        report: called on the writer's thread with each batch's outcome.
        outputs: has the output that results name.
        check: called before each push; raises if nothing may be written any more.
        window_s: see ``WINDOW_S``.
    """

    def __init__(
        self,
        repo: OpsRepo,
        *,
        sign_result: Sign,
        verifier: Verifier,
        report: Callable[[Pushed], None],
        outputs: Outputs,
        check: Callable[[], None] = lambda: None,
        window_s: float = WINDOW_S,
        sign_action: SignAction | None = None,
    ) -> None:
        self._repo = repo
        self._sign_result, self._sign_action = sign_result, sign_action
        self._verifier = verifier
        self._report = report
        self._outputs = outputs
        self._check = check
        self._window_s = window_s
        self._queue: queue.SimpleQueue[Entry | NewAction | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="result-writer", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def put(self, entry: Entry | NewAction) -> None:
        self._queue.put(entry)

    def stop(self) -> None:
        """Write what was put before this call, then stop the thread."""
        self._queue.put(None)
        self._thread.join()

    def _work(self) -> None:
        open_for_more = True
        while open_for_more:
            first = self._queue.get()
            if first is None:
                return
            batch, open_for_more = self._collect(first)
            self._write(batch)

    def _collect(self, first: Entry | NewAction) -> tuple[list[Entry | NewAction], bool]:
        batch = [first]
        window_s = (
            self._window_s if isinstance(first, Entry) else min(self._window_s, ACTION_WINDOW_S)
        )
        deadline = time.monotonic() + window_s
        while len(batch) < BATCH_LIMIT and sum(map(_packed, batch)) < BATCH_BYTES:
            try:
                entry = self._queue.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                break
            if entry is None:
                return batch, False
            batch.append(entry)
        return batch, True

    def _write(self, batch: Sequence[Entry | NewAction]) -> None:
        """Sign each entry separately, so that one that cannot be signed holds up no other."""
        signed: list[tuple[Entry | NewAction, list[NewFile]]] = []
        for entry in batch:
            if entry.output and (missing := self._outputs.missing(entry.action_id, entry.output)):
                self._report(Pushed(entries=(entry,), error=OutputsRefused(missing)))
                continue
            try:
                data = self._signed(entry).encode()
            except Exception as error:  # noqa: BLE001 - this thread must live; the loop decides
                self._report(Pushed(entries=(entry,), error=error))
            else:
                signed.append((entry, [self._file(entry, data), *_inventory_of(entry)]))
        if signed:
            entries, files = zip(*signed, strict=True)
            self._push_all(entries, files)

    def _signed(self, entry: Entry | NewAction) -> str:
        if isinstance(entry, Entry):
            return self._sign_result(entry)
        if self._sign_action is None:
            raise Misconfigured("actions cannot be signed", remedy="Set [attestation] enabled")
        return self._sign_action(entry.text)

    def _push_all(
        self, batch: tuple[Entry | NewAction, ...], files: Sequence[list[NewFile]]
    ) -> None:
        """Push a batch. If an entry of it cannot be written, it must not hold up the others: the
        batch is split in halves and retried.
        """
        pushed = self._push(batch, files)
        error = pushed.error
        if isinstance(error, OutputsRefused):
            self._outputs.refused(error.what)
            self._push_without_output(batch, files, error)
            return
        its_own = error is not None and (unexpected(error) or isinstance(error, Misconfigured))
        if not its_own or len(batch) == 1:
            self._report(pushed)
            return
        half = len(batch) // 2
        self._push_all(batch[:half], files[:half])
        self._push_all(batch[half:], files[half:])

    def _push_without_output(
        self,
        batch: tuple[Entry | NewAction, ...],
        files: Sequence[list[NewFile]],
        error: OutputsRefused,
    ) -> None:
        """Push those of a batch that name no output; report the others."""
        refused = tuple(entry for entry in batch if entry.output)
        self._report(Pushed(entries=refused, error=error))
        rest = [(e, f) for e, f in zip(batch, files, strict=True) if not e.output]
        if rest:
            self._push_all(tuple(e for e, _ in rest), [f for _, f in rest])

    def _file(self, entry: Entry | NewAction, data: bytes) -> NewFile:
        keeps = None
        if isinstance(entry, Entry) and entry.blob:
            keeps = partial(self._verifier.ours, action_id=entry.action_id, blob=entry.blob)
        return NewFile(path=entry.path, data=data, keeps=keeps)

    def _push(self, batch: tuple[Entry | NewAction, ...], files: Sequence[list[NewFile]]) -> Pushed:
        outputs = _outputs(batch)
        try:
            published = self._repo.publish(
                [file for each in files for file in each],
                message=_message(batch),
                check=self._check,
                outputs=[
                    file
                    for action_id, output in outputs.items()
                    for file in self._outputs.files(action_id, output)
                ],
            )
        except Exception as error:  # noqa: BLE001 - this thread must live; the loop decides
            return Pushed(entries=batch, error=error)
        if outputs:
            self._outputs.pushed()
        return Pushed(entries=batch, published=published)


def _inventory_of(entry: Entry | NewAction) -> list[NewFile]:
    """The file of the inventory that the result of a run writes or removes, in the same commit."""
    result = _result_of(entry)
    if result is None or result.inventory is None:
        return []
    path = entry_path(result.inventory.kind, result.inventory.id)
    if result.inventory.change is Change.DESTROYS:
        return [NewFile(path=path, data=b"", beside=entry.path, removed=True)]
    return [NewFile(path=path, data=rendered(result), beside=entry.path)]


def _result_of(entry: Entry | NewAction) -> Result | None:
    """The result of a run that an entry holds."""
    if not isinstance(entry, Entry) or not entry.blob or '"inventory"' not in entry.text:
        return None
    try:
        return parse_result(entry.text)
    except ValueError:
        return None  # of another version


def _outputs(batch: Sequence[Entry | NewAction]) -> dict[str, ResultOutput]:
    """What is to be pushed with a batch, by id."""
    return {entry.action_id: entry.output for entry in batch if entry.output}


def _packed(entry: Entry | NewAction) -> int:
    """Bytes of output that are pushed with an entry."""
    return sum(kept.packed for _, kept in entry.output.streams()) if entry.output else 0


def _message(batch: Sequence[Entry | NewAction]) -> str:
    results = [result for entry in batch if (result := _result_of(entry)) is not None]
    trailers = [line for result in results if (line := trailer(result))]
    return "\n\n".join([_named(batch), *(["\n".join(trailers)] if trailers else [])])


def _named(batch: Sequence[Entry | NewAction]) -> str:
    if len(batch) == 1:
        return _subject(batch[0])
    actions = [entry for entry in batch if isinstance(entry, NewAction)]
    if not actions:
        names = "\n".join(entry.action_id for entry in batch)
        return f"Results of {len(batch)} actions\n\n{names}"
    results = len(batch) - len(actions)
    counts = [f"{len(actions)} actions"] + ([f"{results} results"] if results else [])
    return f"{' and '.join(counts)}\n\n" + "\n".join(map(_subject, batch))


def _subject(entry: Entry | NewAction) -> str:
    if isinstance(entry, NewAction):
        return f"Action {entry.action_id} for {entry.origin}"
    return f"Result of {entry.action_id}"
