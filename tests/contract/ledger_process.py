"""A second process on a ledger: ``python -m tests.contract.ledger_process ADDRESS… COMMAND NAME``.

``sqlite FOLDER lead NAME`` waits for the lead, says ``leading``, and ends with its standard input.
``sqlite FOLDER write NAME`` writes claims forever; it acknowledges each write with ``id step.``.
``nomad PREFIX …`` does the same on the server of NOMAD_ADDR.
"""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from itertools import count
from pathlib import Path

from dispatcher.ledger.base import Ledger
from tests.contract.claims import claim


def main(kind: str, where: str, command: str, name: str) -> None:
    ledger = _open(kind, where)
    if command == "lead":
        _lead(ledger, name)
    else:
        _write(ledger, name)


def _open(kind: str, where: str) -> Ledger:
    if kind == "sqlite":
        from dispatcher.ledger.sqlite import SqliteLedger

        return SqliteLedger(Path(where))
    from dispatcher.engines.nomad.api import NomadApi
    from dispatcher.engines.nomad.ledger import NomadLedger
    from dispatcher.engines.nomad.settings import NomadSettings

    settings = NomadSettings(addr=os.environ["NOMAD_ADDR"], ledger_prefix=where, lease_ttl_s=10)
    return NomadLedger(NomadApi(settings, os.environ), settings)


def _lead(ledger: Ledger, name: str) -> None:
    def waiting(holder: str) -> None:
        print(f"waiting for {holder}", flush=True)

    with ledger.leader(name=name, waiting=waiting) as lease:
        assert lease.held()
        print("leading", flush=True)
        for line in sys.stdin:
            print(f"{line.strip()} {lease.held()}", flush=True)


def _write(ledger: Ledger, name: str) -> None:
    for number in count():
        step = 1
        written = ledger.claim(
            replace(claim(f"{name}-{number}"), priority=step, result="1" * 2_000)
        )
        print(f"{written.key.action_id} {step}.", flush=True)
        for step in (2, 3, 4):
            written = ledger.update(replace(written, priority=step, result=str(step) * 2_000))
            print(f"{written.key.action_id} {step}.", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
