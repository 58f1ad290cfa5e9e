"""What a commit of the writer holds besides the results: its message, and the files of the inventory."""

from __future__ import annotations

from collections.abc import Sequence

from dispatcher.loop.outgoing import Entry, NewAction
from dispatcher.model.inventory import Change
from dispatcher.model.inventory_entry import entry_path, rendered, trailer
from dispatcher.model.result import Result, ResultOutput, parse_result
from dispatcher.ops_repo import NewFile


def inventory_files(entry: Entry | NewAction) -> list[NewFile]:
    """The file of the inventory that the result of a run writes or removes, in the same commit."""
    result = _result_of(entry)
    if result is None or result.inventory is None or (isinstance(entry, Entry) and entry.restored):
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


def outputs_of(batch: Sequence[Entry | NewAction]) -> dict[str, ResultOutput]:
    """What is to be pushed with a batch, by id."""
    return {entry.action_id: entry.output for entry in batch if entry.output}


def packed(entry: Entry | NewAction) -> int:
    """Bytes of output that are pushed with an entry."""
    return sum(kept.packed for _, kept in entry.output.streams()) if entry.output else 0


def commit_message(batch: Sequence[Entry | NewAction]) -> str:
    """The message of the commit that publishes a batch: what is in it, then a trailer for each change of
    the inventory.
    """
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
