"""Times of a task's output, from the index that the runner writes beside its outcome.

Nomad's log endpoint counts offsets over the files that rotation has left. So the index is valid
only as long as a stream's first file exists.
"""

from __future__ import annotations

from dispatcher.engines.base import Stream, TimesNotKept
from dispatcher.engines.nomad.api import NomadApi, Rejected
from dispatcher.engines.nomad.outcome_file import READ_WITHIN_S
from dispatcher.engines.nomad.render import OUTCOME_FILE, TASK
from dispatcher.model.time_index import MAX_BYTES, index_name, offset_since

_LOGS = "alloc/logs"


def offsets_since(api: NomadApi, alloc_id: str, since: float) -> dict[Stream, int]:
    """See ``Scheduler.offsets_since``; empty if the task has not started."""
    # The sizes first: their bytes were indexed before.
    sizes = {
        entry.get("Name", ""): entry.get("Size", 0)
        for entry in api.files(alloc_id, _LOGS, within_s=READ_WITHIN_S)
    }
    offsets = {}
    for stream in Stream:
        first = f"{TASK}.{stream}."
        files = {name: size for name, size in sizes.items() if name.startswith(first)}
        if not files:
            continue
        if f"{first}0" not in files:
            raise TimesNotKept(
                stream, "Nomad has dropped its beginning ([nomad] log_files, log_file_mb)"
            )
        index = _index(api, alloc_id, stream)
        offset = offset_since(index, since, size=sum(files.values()))
        if offset is None:
            raise TimesNotKept(
                stream,
                "it was run by a runner of an older version, its disk was full, or it never "
                "started",
            )
        offsets[stream] = offset
    return offsets


def _index(api: NomadApi, alloc_id: str, stream: Stream) -> bytes | None:
    """Nothing is opened that is not a regular file; see ``outcome_file``."""
    path = f"{OUTCOME_FILE.rpartition('/')[0]}/{index_name(stream)}"
    try:
        info = api.file(alloc_id, path, within_s=READ_WITHIN_S)
        if info is None or not info.get("FileMode", "").startswith("-"):
            return None
        return api.cat(alloc_id, path, limit=MAX_BYTES, within_s=READ_WITHIN_S)
    except Rejected:
        return None
