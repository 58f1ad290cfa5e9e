"""Tells ``serve`` that the formula has ended, before the engine does.

Nomad's client collects what changed before it sends that to a server, so ``serve`` learns of an end about
0.4 s late, and has to read the outcome from the node. The notice may contain the outcome, which proves itself.
Nothing depends on it.
"""

from __future__ import annotations

import http.client
import os
import threading
from collections.abc import Mapping
from contextlib import suppress
from urllib.parse import urlsplit

from dispatcher.model.payload import END_NOTICE_PATH, encode_end_notice

WITHIN_S = 1.0
"""Maximum wait in seconds: the job does not stay longer because of a notice."""


def send_end_notice(
    address: str,
    *,
    outcome: bytes,
    key: str,
    clean: bool,
    environ: Mapping[str, str] = os.environ,
) -> None:
    """Send it once. Raises nothing, and returns after ``WITHIN_S`` at the latest.

    Args:
        address: of the listener of ``serve``, ``http://`` or ``https://``; "" to send nothing.
        outcome: the bytes of ``outcome.json``; b"" to say only that there is one.
        key: ``outcome_key`` of the run, with which the notice is authenticated.
        clean: whether all of the formula's processes have ended.
        environ: has the names of job and allocation.
    """
    job, alloc = environ.get("NOMAD_JOB_ID", ""), environ.get("NOMAD_ALLOC_ID", "")
    if not (address and key and job and alloc):
        return
    notice = encode_end_notice(job, alloc, outcome=outcome, key=key, clean=clean)
    # On a thread, because nothing limits how long a name is looked up.
    sending = threading.Thread(target=_send, args=(address, notice), daemon=True)
    sending.start()
    sending.join(WITHIN_S)


def _send(address: str, notice: bytes) -> None:
    with suppress(OSError, ValueError, http.client.HTTPException):
        parts = urlsplit(address)
        secure = parts.scheme == "https"
        kind = http.client.HTTPSConnection if secure else http.client.HTTPConnection
        connection = kind(parts.hostname or "", parts.port, timeout=WITHIN_S)
        try:
            path = parts.path.rstrip("/") + END_NOTICE_PATH
            connection.request("POST", path, notice, {"Content-Type": "application/json"})
            connection.getresponse().read(1)
        finally:
            connection.close()
