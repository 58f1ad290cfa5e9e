"""Record what a real Nomad answers: ``python -m tests.recordings.record_nomad``.

Takes the server of NOMAD_ADDR and NOMAD_TOKEN, else starts ``nomad`` from PATH. Look through the
difference before committing: recordings hold no token, path or name of the machine.
"""

from __future__ import annotations

from dispatcher.engines.nomad.api import NomadApi
from tests.recordings.scenarios import SCENARIOS
from tests.recordings.tape import Exchange, Recorder, save, scrub
from tests.servers.nomad import Nomad, serve


def record(server: Nomad, name: str) -> list[Exchange]:
    """Run a scenario on a live server; its exchanges, scrubbed."""
    recorder = Recorder()
    api = NomadApi(server.settings(), server.environ, transport=recorder)
    stranger = NomadApi(server.settings(), {}, transport=recorder)
    SCENARIOS[name](api, stranger)
    return scrub(recorder.taped())


def main() -> None:
    with serve() as server:
        for name in SCENARIOS:
            exchanges = record(server, name)
            save(name, exchanges)
            print(f"{name}: {len(exchanges)} exchanges")


if __name__ == "__main__":
    main()
