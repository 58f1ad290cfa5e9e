"""The Nomad adapter on a real server."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from dispatcher.engines.nomad.api import Event, NomadApi, Resync
from dispatcher.engines.nomad.settings import NomadSettings
from dispatcher.errors import Denied, Dependency, Misconfigured, Unavailable
from tests.recordings.record_nomad import record
from tests.recordings.scenarios import SCENARIOS, SPECS
from tests.recordings.tape import differences, load
from tests.servers.nomad import Nomad

pytestmark = pytest.mark.needs("nomad")


@pytest.fixture
def api(nomad: Nomad) -> Iterator[NomadApi]:
    api = nomad.api()
    yield api
    api.close()


@pytest.fixture
def parent(api: NomadApi, nomad: Nomad) -> Iterator[str]:
    """A parameterized job of this test's own."""
    job = api.parse((SPECS / "recorded.nomad.hcl").read_text())
    name = nomad.unique("parent")
    job["ID"] = job["Name"] = name
    api.register(job)
    yield name
    for child in api.jobs(prefix=f"{name}/"):
        api.stop(child["ID"], purge=True)
    api.stop(name, purge=True)


@pytest.mark.parametrize("name", SCENARIOS)
def test_the_server_answers_as_recorded(nomad: Nomad, name: str) -> None:
    """On failure: run tests.recordings.record_nomad, look at what changed, mend the adapter."""
    assert differences(load(name), record(nomad, name)) == []


def test_concurrent_dispatches_with_one_token_make_one_child(api: NomadApi, parent: str) -> None:
    def dispatch(number: int) -> str:
        meta = {"action_id": str(number)}
        return api.dispatch(parent, meta=meta, idempotency_token="one").job_id

    with ThreadPoolExecutor(20) as pool:
        told = set(pool.map(dispatch, range(20)))
    children = [child["ID"] for child in api.jobs(prefix=f"{parent}/")]
    assert len(children) == 1
    assert set(children) <= told
    assert [job_id for job_id in told if api.job(job_id) is not None] == children
    assert dispatch(21) == children[0]


def test_statuses_of_many_children_are_one_call(api: NomadApi, parent: str) -> None:
    children = [
        api.dispatch(parent, meta={"action_id": str(number)}).job_id for number in range(12)
    ]
    before = api.calls.total()
    assert {status["ID"] for status in api.job_statuses(children)} == set(children)
    assert api.calls.total() - before == 1
    assert api.job_statuses([]) == []


def test_another_namespace_is_another_world(nomad: Nomad, api: NomadApi, parent: str) -> None:
    elsewhere = nomad.api(namespace="elsewhere")
    assert elsewhere.job(parent) is None
    assert elsewhere.jobs(prefix=parent) == []
    assert elsewhere.job_statuses([parent]) == []
    assert elsewhere.variable("nobody") is None


def test_another_region_is_not_reached(nomad: Nomad) -> None:
    with pytest.raises(Unavailable, match="No path to region"):
        nomad.api(region="mars").jobs()


def test_the_token_may_come_from_a_file_that_changes(nomad: Nomad, tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("11111111-1111-1111-1111-111111111111\n")
    api = NomadApi(nomad.settings(token_file=file), {})
    with pytest.raises(Denied):
        api.jobs()
    file.write_text(f"{nomad.token}\n")
    assert isinstance(api.jobs(), list)
    file.unlink()
    with pytest.raises(Misconfigured, match="token file"):
        api.jobs()


def test_a_workload_finds_its_own_token(nomad: Nomad, tmp_path: Path) -> None:
    (tmp_path / "nomad_token").write_text(nomad.token)
    api = NomadApi(nomad.settings(), {"NOMAD_SECRETS_DIR": str(tmp_path)})
    assert api.token_self()["Type"] == "management"


def test_no_token_is_told_in_an_error(nomad: Nomad) -> None:
    secret = "11111111-2222-3333-4444-555555555555"
    api = NomadApi(nomad.settings(), {"NOMAD_TOKEN": secret})
    with pytest.raises(Denied) as caught:
        api.jobs()
    assert secret not in f"{caught.value} {caught.value!r} {caught.value.__cause__!r} {api!r}"
    assert "SecretID" not in nomad.api().token_self()


def test_following_a_log_goes_on_past_its_end(api: NomadApi, parent: str) -> None:
    child = api.dispatch(parent, meta={"action_id": "a"}).job_id
    with contextlib.closing(iter(api.events(["Allocation"]))) as told:
        alloc = _until_failed(api, told, child)
    frames = iter(api.logs(alloc, "run", "stdout", follow=True))
    seen = b""
    while seen != b"to stdout\nof both\n":
        seen += next(frames).data
    assert next(frames).data == b""  # a heartbeat
    frames.close()  # type: ignore[attr-defined]


def _until_failed(api: NomadApi, told: Iterator[Event | Resync], child: str) -> str:
    """The allocation of a child, once it has failed; reads lists when the stream says so."""
    for _ in told:
        for allocation in api.allocations(child):
            if allocation["ClientStatus"] == "failed":
                return allocation["ID"]
    raise AssertionError("the stream ended")


class TestEvents:
    def test_a_cut_stream_comes_back_and_says_so(self, nomad: Nomad, parent: str) -> None:
        with _relay(nomad) as relay:
            api = NomadApi(NomadSettings(addr=relay.addr), nomad.environ)
            stream = api.events(["Job"])
            told = iter(stream)
            assert next(told) == Resync()
            child = api.dispatch(parent, meta={"action_id": "a"}).job_id
            assert any(isinstance(e, Event) and e.key == child for e in told)
            relay.cut()
            other = nomad.api().dispatch(parent, meta={"action_id": "b"}).job_id
            assert any(isinstance(e, Resync) for e in told)
            assert stream.connected
            # The server kept what happened in between; another time it may not.
            assert any(isinstance(e, Event) and e.key == other for e in told)
            stream.close()
            assert list(told) == []

    def test_closing_wakes_the_reader(self, api: NomadApi) -> None:
        stream = api.events(["Job:nobody"])
        connected = threading.Event()
        items: list[Event | Resync] = []

        def read() -> None:
            for item in stream:
                items.append(item)
                connected.set()

        reader = threading.Thread(target=read)
        reader.start()
        assert connected.wait(30)
        stream.close()
        reader.join(30)
        assert not reader.is_alive()
        assert items == [Resync()]
        assert not stream.connected

    def test_a_stream_that_was_closed_never_connects(self, api: NomadApi) -> None:
        stream = api.events(["Job"])
        stream.close()
        assert list(stream) == []
        assert api.calls["event.stream"] == 0

    def test_a_denial_is_told(self, nomad: Nomad) -> None:
        with pytest.raises(Denied, match="follow events"):
            next(iter(NomadApi(nomad.settings(), {}).events(["Job"])))

    def test_a_denial_of_nodes_alone_is_told(self, nomad: Nomad) -> None:
        token = nomad.token_with('namespace "default" {\n  policy = "read"\n}')
        api = NomadApi(nomad.settings(), {"NOMAD_TOKEN": token})
        assert next(iter(api.events(["Job", "Allocation"]))) == Resync()
        with pytest.raises(Denied, match="follow events"):
            next(iter(api.events(["Job", "Node"])))


def test_a_server_that_is_down_is_unavailable() -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))  # bound, and nobody listens
        addr = f"http://127.0.0.1:{bound.getsockname()[1]}"
        with pytest.raises(Unavailable, match=addr) as caught:
            NomadApi(NomadSettings(addr=addr), {}).jobs()
    assert caught.value.dependency is Dependency.SCHEDULER


def test_a_server_that_does_not_answer_is_unavailable() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        addr = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(Unavailable, match="timed out"):
            NomadApi(NomadSettings(addr=addr, timeout_s=0.1), {}).jobs()


class _Relay:
    """A TCP relay to the server whose connections can be cut."""

    def __init__(self, nomad: Nomad, listener: socket.socket) -> None:
        host, port = nomad.addr.rsplit("/", 1)[1].split(":")
        self.addr = f"http://127.0.0.1:{listener.getsockname()[1]}"
        self._target = (host, int(port))
        self._listener = listener
        self._open: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        for end in self._open:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        self._open.clear()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                far = socket.create_connection(self._target)
                self._open += [near, far]
                for one, other in ((near, far), (far, near)):
                    threading.Thread(target=self._pass_on, args=(one, other), daemon=True).start()

    def _pass_on(self, one: socket.socket, other: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while piece := one.recv(65_536):
                other.sendall(piece)
            other.shutdown(socket.SHUT_RDWR)


@contextlib.contextmanager
def _relay(nomad: Nomad) -> Iterator[_Relay]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        relay = _Relay(nomad, listener)
        yield relay
        relay.cut()
