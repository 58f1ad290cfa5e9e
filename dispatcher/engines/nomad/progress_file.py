"""Reads the runner's ``progress.json`` from an allocation, where the formula may have written as well.

Nothing is opened that is not a regular file, each call has a deadline, and only what verifies with the
run's key counts: see ``outcome_file``.
"""

from __future__ import annotations

from dispatcher.engines.nomad.api import NomadApi, Rejected
from dispatcher.engines.nomad.render import OUTCOME_FILE
from dispatcher.model.payload import NotAuthentic, check_authentic
from dispatcher.model.progress import FILE_BYTES, FILE_NAME, Progress, decode_progress

READ_WITHIN_S = 2.0
"""For each of the two calls. Progress is for people, so a slow node is not waited for."""

_PATH = f"{OUTCOME_FILE.rpartition('/')[0]}/{FILE_NAME}"


def read_progress(api: NomadApi, alloc_id: str, *, key: str) -> Progress | None:
    """What a run last reported about itself; None if there is nothing of its runner's.

    Args:
        alloc_id: "" for a run without an allocation.
        key: the run's ``outcome_key``.

    Raises:
        TemporaryError: its node does not answer in time.
        Denied: the token may not read files.
    """
    if not alloc_id:
        return None
    try:
        info = api.file(alloc_id, _PATH, within_s=READ_WITHIN_S)
        if info is None or not info.get("FileMode", "").startswith("-"):
            return None
        data = api.cat(alloc_id, _PATH, limit=FILE_BYTES, within_s=READ_WITHIN_S)
        check_authentic(data or b"", key)
    except (Rejected, NotAuthentic):
        return None  # a link that leads out of the allocation, or what the formula wrote
    return decode_progress(data) if data else None
