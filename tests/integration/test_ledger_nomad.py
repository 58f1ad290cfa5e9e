"""The ledger in Nomad, on a real server."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
import tenacity

from dispatcher.engines.nomad.api import Lock, NomadApi, Resync
from dispatcher.engines.nomad.ledger import ClaimTooLarge, NomadLedger
from dispatcher.engines.nomad.settings import NomadSettings
from dispatcher.errors import Denied, Dependency, Misconfigured, Unavailable
from dispatcher.ledger.base import AlreadyClaimed, Ledger
from dispatcher.ledger.codec import UnreadableClaim
from dispatcher.model.run import Phase
from tests.contract.claims import claim
from tests.contract.ledger import LedgerContract, Process, leading
from tests.servers.freeze import freeze
from tests.servers.nomad import Nomad, serve

pytestmark = pytest.mark.needs("nomad")


@pytest.fixture
def settings(nomad: Nomad) -> NomadSettings:
    return nomad.settings(ledger_prefix=nomad.unique("t"), lease_ttl_s=10)


@pytest.fixture
def api(nomad: Nomad, settings: NomadSettings) -> Iterator[NomadApi]:
    api = NomadApi(settings, nomad.environ)
    yield api
    for stub in api.variables(settings.ledger_prefix):
        if not stub.get("Lock"):
            api.delete_variable(stub["Path"])
    api.close()


@pytest.fixture
def ledger(api: NomadApi, settings: NomadSettings) -> NomadLedger:
    return NomadLedger(api, settings)


@pytest.fixture
def in_environment(nomad: Nomad, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in nomad.environ.items():
        monkeypatch.setenv(name, value)


class TestNomadLedger(LedgerContract):
    @pytest.fixture
    def opener(self, api: NomadApi, settings: NomadSettings) -> Callable[[], Ledger]:
        return lambda: NomadLedger(api, settings)

    @pytest.fixture
    def ledger(self, opener: Callable[[], Ledger]) -> Ledger:
        return opener()

    @pytest.fixture
    def address(self, settings: NomadSettings, in_environment: None) -> tuple[str, ...]:
        return ("nomad", settings.ledger_prefix)

    @pytest.mark.slow
    def test_a_frozen_leader_knows_that_it_lost_the_lead(
        self, start: Callable[..., Process]
    ) -> None:
        frozen = start("lead", "frozen")
        assert frozen.line() == "leading"
        next_one = start("lead", "next")
        assert next_one.line() == "waiting for frozen"
        freeze(frozen.popen.pid)
        assert next_one.line_after("waiting for frozen") == "leading"
        frozen.popen.send_signal(signal.SIGCONT)
        assert frozen.popen.stdin is not None
        for _ in range(2):
            frozen.popen.stdin.write("held?\n")
            frozen.popen.stdin.flush()
            assert frozen.line() == "held? False"
        assert next_one.popen.stdin is not None
        next_one.popen.stdin.write("held?\n")
        next_one.popen.stdin.flush()
        assert next_one.line() == "held? True"


def test_unchanged_claims_are_not_read_again(
    api: NomadApi, settings: NomadSettings, ledger: NomadLedger
) -> None:
    other = NomadLedger(api, settings)
    written = [ledger.claim(claim(f"one-{number}")) for number in range(20)]

    def reads(use: Ledger) -> tuple[int, int]:
        before = api.calls.copy()
        assert len(use.open_runs()) == 20
        return api.calls["vars.list"] - before["vars.list"], api.calls["var.read"] - before[
            "var.read"
        ]

    assert reads(ledger) == (1, 0)
    assert reads(other) == (1, 20)
    assert reads(other) == (1, 0)
    changed = ledger.update(replace(written[3], phase=Phase.ENDED))
    assert reads(other) == (1, 1)
    assert changed in other.open_runs()


def test_a_claim_whose_answer_was_lost_is_found_again(
    ledger: NomadLedger, api: NomadApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger.release(ledger.claim(claim("zero")))
    put = api.put_variable

    def cut_off(*words: object, **more: object) -> int:
        put(*words, **more)  # type: ignore[arg-type]
        raise Unavailable(Dependency.SCHEDULER, "read timed out")

    monkeypatch.setattr(api, "put_variable", cut_off)
    written = ledger.claim(claim("one"))
    ended = ledger.update(replace(written, phase=Phase.ENDED))
    assert list(ledger.open_runs()) == [ended]


def test_a_write_that_never_arrived_is_told(
    ledger: NomadLedger, api: NomadApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = ledger.claim(claim("one"))

    def never(*words: object, **more: object) -> int:
        raise Unavailable(Dependency.SCHEDULER, "connection refused")

    monkeypatch.setattr(api, "put_variable", never)
    for write in (lambda: ledger.claim(claim("two")), lambda: ledger.update(written)):
        with pytest.raises(Unavailable) as caught:
            write()
        assert caught.value.dependency is Dependency.LEDGER


def test_a_large_result_is_packed(
    ledger: NomadLedger, api: NomadApi, settings: NomadSettings
) -> None:
    written = ledger.claim(claim("one"))
    ended = ledger.update(replace(written, result='{"outputs": "' + "long " * 40_000 + '"}'))
    assert list(NomadLedger(api, settings).open_runs()) == [ended]


def test_a_result_that_does_not_fit_is_refused_before_nomad_is_asked(ledger: NomadLedger) -> None:
    written = ledger.claim(claim("one"))
    with pytest.raises(ClaimTooLarge, match="outputs"):
        ledger.update(replace(written, result=os.urandom(60_000).hex()))
    assert list(ledger.open_runs()) == [written]


def test_a_variable_that_is_no_claim_is_named(
    ledger: NomadLedger, api: NomadApi, settings: NomadSettings
) -> None:
    path = f"{settings.ledger_prefix}/claims/odd"
    api.put_variable(path, {"by": "hand"})
    with pytest.raises(UnreadableClaim, match=path):
        ledger.open_runs()
    with pytest.raises(UnreadableClaim, match=path):
        ledger.claim(claim("odd"))


def _rules(settings: NomadSettings, *capabilities: str) -> str:
    return f"""
    namespace "default" {{
      variables {{
        path "{settings.ledger_prefix}/*" {{
          capabilities = [{", ".join(f'"{word}"' for word in capabilities)}]
        }}
      }}
    }}
    """


def test_the_rights_in_the_docs_are_enough(nomad: Nomad, settings: NomadSettings) -> None:
    token = nomad.token_with(_rules(settings, "read", "list", "write", "destroy"))
    ledger = NomadLedger(NomadApi(settings, {"NOMAD_TOKEN": token}), settings)
    with leading(ledger, "me"):
        written = ledger.claim(claim("one"))
        assert list(ledger.open_runs()) == [written]
        with pytest.raises(AlreadyClaimed):
            ledger.claim(claim("one"))
        ledger.release(ledger.update(written))
        assert list(ledger.open_runs()) == []


@pytest.mark.parametrize("capabilities", [(), ("write", "destroy"), ("deny",)])
def test_a_ledger_that_may_not_be_listed_is_not_an_empty_one(
    nomad: Nomad, settings: NomadSettings, ledger: NomadLedger, capabilities: tuple[str, ...]
) -> None:
    ledger.claim(claim("one"))
    token = nomad.token_with(_rules(settings, *capabilities)) if capabilities else ""
    stranger = NomadLedger(NomadApi(settings, {"NOMAD_TOKEN": token}), settings)
    with pytest.raises(Denied, match="read, list, write and destroy") as caught:
        stranger.open_runs()
    assert caught.value.dependency is Dependency.LEDGER


def test_a_token_without_rights_is_told_what_it_lacks(
    nomad: Nomad, settings: NomadSettings
) -> None:
    stranger = NomadLedger(NomadApi(settings, {}), settings)
    for use in (
        stranger.open_runs,
        lambda: stranger.claim(claim("one")),
        lambda: stranger.leader(name="me", waiting=print).__enter__(),
    ):
        with pytest.raises(Denied, match="read, list, write and destroy") as caught:
            use()
        assert caught.value.dependency is Dependency.LEDGER


@pytest.mark.parametrize("prefix", ["", "a b", "/a", "a/", "a//b", "nomad/jobs", "x" * 21])
def test_a_prefix_that_makes_no_path_is_refused(prefix: str) -> None:
    with pytest.raises(Misconfigured, match="ledger_prefix"):
        NomadLedger(NomadApi(NomadSettings(), {}), NomadSettings(ledger_prefix=prefix))


@pytest.mark.slow
def test_a_lease_is_renewed_past_its_time(ledger: NomadLedger, api: NomadApi) -> None:
    with leading(ledger, "me") as lease:
        _until(lambda: api.calls["var.renew"] >= 5 or not lease.held())
        assert lease.held()


def test_a_lock_taken_away_by_hand_ends_the_lease(
    ledger: NomadLedger, api: NomadApi, settings: NomadSettings
) -> None:
    path = f"{settings.ledger_prefix}/leader"
    with leading(ledger, "me") as lease:
        (stub,) = api.variables(path)
        api.release_lock(Lock(path=path, id=(stub.get("Lock") or {})["ID"]))
        with leading(NomadLedger(api, settings), "other") as other:
            _until(lambda: not lease.held())
            assert other.held()
        assert not lease.held()


@pytest.mark.slow
def test_claims_outlive_the_server_and_the_lead_does_not() -> None:
    with serve(keeps_state=True) as own:
        settings = own.settings(lease_ttl_s=10)
        ledger = NomadLedger(NomadApi(settings, own.environ), settings)
        written = ledger.claim(claim("one"))
        stream = NomadApi(settings, own.environ).events(["Job"])
        told = iter(stream)
        assert next(told) == Resync()
        with leading(ledger, "me") as lease:
            own.kill()
            with pytest.raises(Unavailable):
                ledger.open_runs()
            _until(lambda: not lease.held())
            own.restart()
            assert not lease.held()
        assert list(ledger.open_runs()) == [written]
        assert next(told) == Resync()
        stream.close()
        with ledger.leader(name="next", waiting=lambda holder: None) as lease:
            assert lease.held()
            ledger.release(written)


@tenacity.retry(
    retry=tenacity.retry_if_exception_type(AssertionError),
    stop=tenacity.stop_after_delay(60),
    wait=tenacity.wait_fixed(0.2),
)
def _until(met: Callable[[], bool]) -> None:
    assert met()
