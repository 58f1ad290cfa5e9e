"""The adapter on what a real Nomad answered, for machines without one."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from dispatcher.engines.nomad.api import NomadApi
from dispatcher.engines.nomad.settings import NomadSettings
from tests.recordings.scenarios import SCENARIOS
from tests.recordings.tape import FOLDER, Exchange, differences, load, replay, scrub


@pytest.mark.parametrize("name", SCENARIOS)
def test_the_adapter_understands_the_recording(name: str) -> None:
    transport = replay(load(name))
    api = NomadApi(NomadSettings(), {"NOMAD_TOKEN": "any"}, transport=transport)
    stranger = NomadApi(NomadSettings(), {}, transport=transport)
    SCENARIOS[name](api, stranger)


def test_every_recording_has_its_scenario() -> None:
    assert sorted(path.stem for path in FOLDER.iterdir()) == sorted(SCENARIOS)


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_recording_tells_nothing_of_its_machine(name: str) -> None:
    text = (FOLDER / f"{name}.json").read_text()
    paths = re.findall(r'(?<![\w:.])/(?:opt|tmp|home|root|work|var)/[^" ]*', text)
    assert [path for path in paths if not path.startswith("/var/lib/nomad/")] == []
    made_up = re.compile(r"00000000-0000-[04]000-[08]000-[0-9a-f]{12}")
    ids = re.findall(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", text)
    assert [id_ for id_ in ids if not made_up.fullmatch(id_)] == []
    assert not re.search(r"X-Nomad-Token", text, re.IGNORECASE)


def _exchange(body: str, *, status: int = 200) -> Exchange:
    return Exchange(
        request="GET /v1/things", status=status, headers={"content-type": "x"}, body=body
    )


@pytest.mark.parametrize(
    ("live", "told"),
    [
        (_exchange('[{"ID": "b", "Count": 2, "New": true}]'), []),
        (_exchange('[{"ID": "b", "Count": null}]'), []),
        (_exchange("[]"), []),
        (_exchange('[{"ID": "b"}]'), ["[].Count is missing"]),
        (_exchange('[{"ID": 1, "Count": 1}]'), ["[].ID was str and is int"]),
        (_exchange('{"ID": "b"}'), ["body was list and is map"]),
        (_exchange("no", status=500), ["not answered like this any more"]),
    ],
)
def test_a_live_server_that_answers_otherwise_is_told(live: Exchange, told: list[str]) -> None:
    recorded = _exchange('[{"ID": "a", "Count": 1}]')
    found = differences([recorded], [live])
    assert len(found) == len(told)
    assert all(found_one.endswith(one) for found_one, one in zip(found, told, strict=True))


def test_ids_are_replaced_alike_everywhere() -> None:
    id_ = "6ec57f84-c680-d3a3-778b-000000000001"
    first = replace(_exchange(f'{{"ID":"{id_}"}}'), request=f"GET /v1/thing/{id_}")
    second = _exchange(
        f'{{"SecretID":"x-{id_}","of":"{id_}","Job":"a/dispatch-1795249197-0ebd4cf8"}}'
    )
    scrubbed = scrub([first, second])
    made = "00000000-0000-4000-8000-000000000001"
    assert scrubbed[0].request == f"GET /v1/thing/{made}"
    assert scrubbed[0].body == f'{{"ID":"{made}"}}'
    assert scrubbed[1].body == (
        f'{{"SecretID":"private","of":"{made}","Job":"a/dispatch-1700000000-00000002"}}'
    )
