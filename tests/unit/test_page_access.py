"""What goes on while somebody is logged in: streams end with the right to see them, nobody asks too often,
and a slow forge slows down nothing else.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from dispatcher.errors import Unavailable
from dispatcher.forge import exchange
from dispatcher.forge.accounts import Accounts
from dispatcher.page import people
from dispatcher.page.answers import Answer, Data, Events
from dispatcher.page.people import CHECK_S
from dispatcher.page.rates import Buckets, Rate
from dispatcher.page.routing import Page
from dispatcher.page.streams import BUSY_RETRY_MS, EventResponse, Streams
from dispatcher.page.visit import Visit
from dispatcher.settings import ForgeSettings
from tests.fakes.oauth_forge import REPOSITORY, URL
from tests.support.forge_people import Clock, ForgeStage, forge_stage
from tests.support.page_client import JSON, a_client

SESSION = "__Host-disinto_session"


@pytest.fixture
def stage(tmp_path: Path) -> ForgeStage:
    return forge_stage(tmp_path)


async def endless() -> AsyncIterator[bytes]:
    while True:
        yield b"data: secret\n\n"
        await asyncio.sleep(0.001)


def received(response: EventResponse) -> bytes:
    """What a reader gets that stays until the stream ends."""
    sent = b""

    async def connected() -> Any:
        await asyncio.Event().wait()

    async def send(message: Any) -> None:
        nonlocal sent
        sent += message.get("body", b"")

    asyncio.run(response({}, connected, send))
    return sent


class TestStreams:
    def test_one_ends_with_the_right_to_see_it(self) -> None:
        async def allowed() -> bool:
            return False

        sent = received(EventResponse(endless(), Streams(check_s=0), allowed=allowed))
        assert b"secret" not in sent

    def test_while_that_cannot_be_told_it_waits(self) -> None:
        answers: Iterator[bool | None] = iter([None, None, True, True, False])

        async def allowed() -> bool | None:
            return next(answers)

        sent = received(EventResponse(endless(), Streams(check_s=0), allowed=allowed))
        assert sent.count(b"secret") == 2

    def test_a_session_that_ended_sees_nothing_more(self, stage: ForgeStage) -> None:
        ada = stage.forge.person("ada")
        visits: list[Visit] = []

        def stream(visit: Visit) -> Answer:
            visits.append(visit)
            return Events(source=_nothing())

        page = Page(path="/s", name="s", handler=stream, summary="", stream=True)
        browser = a_client(stage.site, [page])
        browser.cookies = stage.log_in(ada).cookies
        assert browser.get("/s").status_code == 200
        (visit,) = visits
        assert asyncio.run(visit.still_allowed()) is True
        stage.forge.down = True
        stage.clock.now += CHECK_S
        assert asyncio.run(visit.still_allowed()) is None
        stage.forge.down, ada.reads = False, False
        assert asyncio.run(visit.still_allowed()) is False

    def test_logging_out_ends_it(self, stage: ForgeStage) -> None:
        cookie = stage.log_in(stage.forge.person("ada")).cookies[SESSION]
        session = stage.site.sessions.find(cookie)
        assert session is not None
        assert stage.site.sessions.lasts(session)
        stage.site.sessions.end(session)
        assert not stage.site.sessions.lasts(session)

    def test_nobody_takes_those_of_others(self) -> None:
        streams = Streams(most_of_one=2)
        with streams.place("eve") as first, streams.place("eve") as second:
            assert first
            assert second
            third = received(EventResponse(endless(), streams, person="eve"))
            assert third == f"retry: {BUSY_RETRY_MS}\n\n".encode()
            with streams.place("ada") as other:
                assert other
        with streams.place("eve") as again:
            assert again
        assert streams.open == 0


async def _nothing() -> AsyncIterator[bytes]:
    for each in ():
        yield each


class TestRates:
    def test_a_bucket_refills(self) -> None:
        clock = Clock()
        bucket = Buckets(Rate(per_s=0.5, burst=2), clock=clock)
        assert [bucket.take("a") for _ in range(3)] == [0, 0, 2]
        assert bucket.take("b") == 0
        clock.now += 2
        assert [bucket.take("a") for _ in range(2)] == [0, 2]
        clock.now += 1_000
        assert [bucket.take("a") for _ in range(3)] == [0, 0, 2]

    def test_a_person_who_asks_too_often_is_told_when_to_come_back(self, stage: ForgeStage) -> None:
        page = Page(path="/x", name="x", handler=lambda _: Data(data={}), summary="")
        stage.site.reading = Buckets(Rate(per_s=0.1, burst=2), clock=stage.clock)
        eve, ada = (stage.log_in(stage.forge.person(name)).cookies for name in ("eve", "ada"))
        browser = a_client(stage.site, [page])
        browser.cookies = eve
        answers = [browser.get("/x", headers=JSON) for _ in range(3)]
        assert [a.status_code for a in answers] == [200, 200, 429]
        assert answers[2].headers["retry-after"] == "10"
        assert answers[2].json()["remedy"] == "Wait 10 seconds, then try again."
        browser.cookies = ada
        assert browser.get("/x").status_code == 200
        stage.clock.now += 10
        browser.cookies = eve
        assert browser.get("/x").status_code == 200


class TestASlowForge:
    def test_an_answer_that_dribbles_is_given_up(self, monkeypatch: pytest.MonkeyPatch) -> None:
        clock = Clock()
        monkeypatch.setattr(exchange, "time", SimpleNamespace(monotonic=clock))

        class Dribble(httpx.SyncByteStream):
            def __iter__(self) -> Iterator[bytes]:
                for _ in range(10_000):
                    clock.now += 9
                    yield b" "
                raise AssertionError("it was read for a day")

        transport = httpx.MockTransport(lambda _: httpx.Response(200, stream=Dribble()))
        settings = ForgeSettings(url=URL, repository=REPOSITORY)
        with pytest.raises(Unavailable, match="did not arrive in time"):
            Accounts(settings, transport=transport).of("a-token")

    def test_it_takes_only_some_threads_of_the_page(
        self, stage: ForgeStage, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(people, "WAIT_S", 0.001)
        browser = stage.log_in(stage.forge.person("ada"))
        stage.clock.now += CHECK_S
        assert stage.site.people is not None
        places = stage.site.people._places
        for _ in range(people.AT_ONCE):
            assert places.acquire(blocking=False)
        answer = browser.get("/")
        assert answer.status_code == 503
        assert "too slowly" in answer.text
        places.release()
        assert browser.get("/").status_code == 200

    def test_cookies_of_the_forge_are_not_kept(self) -> None:
        seen: list[str] = []

        def answer(request: httpx.Request) -> httpx.Response:
            seen.append(request.headers.get("Cookie", ""))
            return httpx.Response(401, headers={"Set-Cookie": "session=ada; Path=/"}, json={})

        accounts = Accounts(
            ForgeSettings(url=URL, repository=REPOSITORY), transport=httpx.MockTransport(answer)
        )
        accounts.of("a-token")
        accounts.of("b-token")
        assert seen == ["", ""]
