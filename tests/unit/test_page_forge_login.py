"""Logging in with the forge: who is let in, for how long, and what an attacker tries."""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from dispatcher.page.attempts import LASTS_S, LONGEST_PATH, Attempts
from dispatcher.page.people import CHECK_S
from dispatcher.page.rates import UNPROVEN
from dispatcher.page.sessions import MOST
from tests.fakes.oauth_forge import App, flood, nonsense
from tests.support.forge_people import SECRET, Clock, ForgeStage, forge_stage
from tests.support.page_client import JSON

SESSION = "__Host-disinto_session"
TOKEN_PATH = "/login/oauth/access_token"


@pytest.fixture
def stage(tmp_path: Path) -> ForgeStage:
    return forge_stage(tmp_path)


class TestLoggingIn:
    def test_a_person_comes_in_and_where_they_wanted(self, stage: ForgeStage) -> None:
        ada = stage.forge.person("ada", full_name="Ada Lovelace")
        browser = stage.log_in(ada, "/actions/x?tail=1")
        page = browser.get("/").text
        assert "Ada Lovelace" in page
        token = re.search(r'name="form_token" value="(\w+)"', page)
        assert token is not None
        assert browser.post("/leave", data={"form_token": token[1]}).status_code == 303
        assert browser.get("/").status_code == 401

    def test_whoever_is_not_logged_in_is_led_to_the_forge(self, stage: ForgeStage) -> None:
        answer = stage.browser().get("/new")
        assert answer.status_code == 401
        assert 'href="/login/forge?next=/new"' in answer.text

    def test_cookies_are_the_pages_alone(self, stage: ForgeStage) -> None:
        browser = stage.browser()
        begun = browser.get("/login/forge")
        back = browser.get(
            stage.forge.authorize(begun.headers["location"], stage.forge.person("a"))
        )
        names = ("__Host-disinto_login", SESSION)
        for answer, name in zip((begun, back), names, strict=True):
            cookies = answer.headers.get_list("set-cookie")
            (cookie,) = (c for c in cookies if c.startswith(f"{name}="))
            for attribute in ("HttpOnly", "Secure", "SameSite=lax", "Path=/"):
                assert attribute in cookie
        assert "__Host-disinto_login" not in browser.cookies, "it is used up"

    def test_on_the_loopback_it_works_without_https(self, tmp_path: Path) -> None:
        stage = forge_stage(tmp_path, origin="http://127.0.0.1:8490")
        assert stage.log_in(stage.forge.person("ada")).get("/").status_code == 200

    def test_the_session_is_a_new_one(self, stage: ForgeStage) -> None:
        ada, eve = stage.forge.person("ada"), stage.forge.person("eve")
        planted = stage.log_in(eve).cookies[SESSION]
        browser = stage.browser()
        browser.cookies.set(SESSION, planted, domain="runs.example")
        browser.get(stage.forge.authorize(stage.at_forge(browser), ada))
        assert stage.site.sessions.find(planted) is None
        (now,) = {c.value for c in browser.cookies.jar if c.name == SESSION} - {planted, None}
        session = stage.site.sessions.find(now)
        assert session is not None
        assert session.person is not None
        assert session.person.login == "ada"

    def test_only_readers_of_the_ops_repo_come_in(self, stage: ForgeStage) -> None:
        browser = stage.browser()
        eve = stage.forge.person("eve", reads=False)
        answer = browser.get(stage.forge.authorize(stage.at_forge(browser), eve))
        assert answer.status_code == 403
        assert "does not let you read the ops repo" in answer.text
        assert browser.get("/").status_code == 401

    def test_who_does_not_let_the_page_in_is_told_what_to_do(self, stage: ForgeStage) -> None:
        browser = stage.browser()
        stage.at_forge(browser)
        said = "<script>alert(1)</script>"
        answer = browser.get(
            "/login/forge/back", params={"error": "access_denied", "error_description": said}
        )
        assert answer.status_code == 403
        assert "alert(1)" not in answer.text

    @pytest.mark.parametrize(
        "path", ["//evil.example", "https://evil.example", "/\\evil.example", "/a\nb", "/" * 5000]
    )
    def test_nobody_is_led_elsewhere(self, stage: ForgeStage, path: str) -> None:
        browser = stage.browser()
        url = stage.at_forge(browser, path)
        assert url.startswith("https://forge.example/login/oauth/authorize?")
        answer = browser.get(stage.forge.authorize(url, stage.forge.person("ada")))
        assert answer.headers["location"] == "/"

    def test_names_that_no_commit_can_hold_are_made_plain(self, stage: ForgeStage) -> None:
        mallory = stage.forge.person(
            "mallory", full_name="M\ncommitter Eve <eve@x>\x1b[1m", email="a>\n<b@c"
        )
        cookie = stage.log_in(mallory).cookies[SESSION]
        session = stage.site.sessions.find(cookie)
        assert session is not None
        assert session.person is not None
        assert session.person.author == (
            "M committer Eve eve x 1m",
            "mallory@noreply.forge.example",
        )

    def test_nobody_has_the_address_that_stands_for_another(self, stage: ForgeStage) -> None:
        """Whose a desktop is goes by the address of a commit."""
        eve = stage.forge.person("eve", email="ada@NoReply.forge.example")
        session = stage.site.sessions.find(stage.log_in(eve).cookies[SESSION])
        assert session is not None
        assert session.person is not None
        assert session.person.email == "eve@noreply.forge.example"


class TestHostileReturns:
    def test_a_state_counts_once(self, stage: ForgeStage) -> None:
        ada, browser = stage.forge.person("ada"), stage.browser()
        url = stage.at_forge(browser)
        kept = browser.cookies["__Host-disinto_login"]
        assert browser.get(stage.forge.authorize(url, ada)).status_code == 303
        browser.cookies.set("__Host-disinto_login", kept, domain="runs.example")
        asked = len(stage.forge.requests)
        assert browser.get(stage.forge.authorize(url, ada)).status_code == 403
        assert len(stage.forge.requests) == asked, "the code was not used"

    def test_nobody_is_logged_in_as_somebody_else(self, stage: ForgeStage) -> None:
        """Login CSRF: Eve hands Ada's browser the way back of her own login."""
        eve = stage.forge.person("eve")
        back = stage.forge.authorize(stage.at_forge(stage.browser()), eve)
        victim, busy = stage.browser(), stage.browser()
        stage.at_forge(busy)
        for browser in (victim, busy):
            assert browser.get(back).status_code == 403
            assert browser.get("/").status_code == 401

    @pytest.mark.parametrize("state", ["", "x", "é", "0" * 64])
    def test_a_state_that_was_made_up_is_refused(self, stage: ForgeStage, state: str) -> None:
        browser = stage.browser()
        url = stage.at_forge(browser)
        answer = browser.get(stage.forge.authorize(url, stage.forge.person("ada"), state=state))
        assert answer.status_code == 403

    def test_a_code_of_another_login_is_worth_nothing(self, stage: ForgeStage) -> None:
        """PKCE: a code that was stolen from a browser cannot be injected into another."""
        ada, thief = stage.forge.person("ada"), stage.browser()
        stolen = parse_qs(
            urlsplit(stage.forge.authorize(stage.at_forge(stage.browser()), ada)).query
        )["code"]
        state = parse_qs(urlsplit(stage.at_forge(thief)).query)["state"]
        answer = thief.get("/login/forge/back", params={"code": stolen, "state": state})
        assert answer.status_code == 403
        assert "did not confirm" in answer.text

    @pytest.mark.parametrize("cookie", ["", ".", "e30=.0", "é.é", "W10=." + "0" * 64])
    def test_a_cookie_that_was_made_up_is_refused(self, cookie: str) -> None:
        assert Attempts().finish(cookie, "state") is None

    def test_a_cookie_that_was_changed_is_refused(self) -> None:
        """Whoever can set cookies can neither keep a login open nor choose where it leads."""
        attempts = Attempts(clock=Clock())
        attempt = attempts.begin("/")
        text, _, mac = attempt.cookie.partition(".")
        attempt_id, until, path = json.loads(base64.urlsafe_b64decode(text))
        for changed in ([attempt_id, until + 1e6, path], [attempt_id, until, "/leave"]):
            forged = base64.urlsafe_b64encode(json.dumps(changed).encode()).decode()
            assert attempts.finish(f"{forged}.{mac}", attempt.state) is None
        assert attempts.finish(attempt.cookie, attempt.state) is not None

    def test_a_login_has_to_be_finished_in_time(self, stage: ForgeStage) -> None:
        ada, browser = stage.forge.person("ada"), stage.browser()
        back = stage.forge.authorize(stage.at_forge(browser), ada)
        stage.clock.now += LASTS_S + 1
        assert browser.get(back).status_code == 403

    def test_beginning_takes_no_memory_and_ends_no_session(self, stage: ForgeStage) -> None:
        ada = stage.log_in(stage.forge.person("ada"))
        assert stage.site.people is not None
        for _ in range(MOST + 1):
            stage.site.people.begin("/")
        assert ada.get("/").status_code == 200

    def test_a_path_too_long_for_a_cookie_is_left_out(self) -> None:
        assert Attempts(clock=Clock()).begin("/" + "a" * LONGEST_PATH).path == "/"


class TestAForgeThatFails:
    @pytest.mark.parametrize(
        "answer",
        [
            nonsense,
            flood,
            lambda: httpx.Response(200, json={"access_token": "a\nb" * 10, "token_type": "bearer"}),
            lambda: httpx.Response(200, json={"access_token": "a" * 20, "token_type": "mac"}),
            lambda: httpx.Response(200, content=b"\xff" * 100),
            lambda: httpx.Response(200, content=b"[" * 60_000),
            lambda: httpx.Response(302, headers={"location": "https://evil.example"}),
            lambda: httpx.Response(502),
        ],
    )
    def test_its_nonsense_lets_nobody_in(self, stage: ForgeStage, answer: object) -> None:
        stage.forge.answers[TOKEN_PATH] = answer  # type: ignore[assignment]
        browser = stage.browser()
        back = stage.forge.authorize(stage.at_forge(browser), stage.forge.person("ada"))
        got = browser.get(back)
        assert (got.status_code, got.headers["retry-after"]) == (503, "5")
        assert browser.get("/").status_code == 401

    @pytest.mark.parametrize(
        ("path", "answer"),
        [
            ("/api/v1/user", {"id": -2, "login": "forge-jobs"}),
            ("/api/v1/user", {"id": 1, "login": "../x"}),
            ("/api/v1/user", []),
            ("/api/v1/repos/acme/ops", {"full_name": "eve/ops", "permissions": {"pull": True}}),
            ("/api/v1/repos/acme/ops", {"full_name": "acme/ops", "permissions": {"pull": False}}),
            ("/api/v1/repos/acme/ops", {"full_name": "acme/ops"}),
        ],
    )
    def test_what_says_nothing_about_access_gives_none(
        self, stage: ForgeStage, path: str, answer: object
    ) -> None:
        stage.forge.answers[path] = lambda: httpx.Response(200, json=answer)
        browser = stage.browser()
        back = stage.forge.authorize(stage.at_forge(browser), stage.forge.person("ada"))
        assert browser.get(back).status_code in (401, 403, 503)
        assert browser.get("/").status_code == 401

    def test_if_it_is_down_the_page_says_so(self, stage: ForgeStage) -> None:
        browser = stage.log_in(stage.forge.person("ada"))
        stage.forge.down = True
        assert browser.get("/").status_code == 200
        stage.clock.now += CHECK_S
        answer = browser.get("/")
        assert answer.status_code == 503
        assert "the forge did not answer" in answer.text
        stage.forge.down = False
        assert browser.get("/").status_code == 200

    def test_one_can_log_out_while_it_is_down(self, stage: ForgeStage) -> None:
        browser = stage.log_in(stage.forge.person("ada"))
        token = re.search(r'name="form_token" value="(\w+)"', browser.get("/").text)
        assert token is not None
        stage.forge.down = True
        stage.clock.now += CHECK_S
        assert browser.post("/leave", data={"form_token": token[1]}).status_code == 303


class TestAccessOverTime:
    def test_who_loses_their_access_is_out(self, stage: ForgeStage) -> None:
        ada = stage.forge.person("ada")
        browser = stage.log_in(ada)
        ada.reads = False
        stage.clock.now += CHECK_S
        assert browser.get("/").status_code == 403
        assert browser.get("/").status_code == 401

    def test_who_takes_the_permission_back_is_out(self, stage: ForgeStage) -> None:
        ada = stage.forge.person("ada")
        browser = stage.log_in(ada)
        stage.forge.take_back(ada)
        stage.clock.now += CHECK_S
        answer = browser.get("/")
        assert answer.status_code == 401
        assert "/login/forge" in answer.text

    def test_a_token_is_renewed_before_it_expires(self, stage: ForgeStage) -> None:
        browser = stage.log_in(stage.forge.person("ada"))
        session = stage.site.sessions.find(browser.cookies[SESSION])
        assert session is not None
        assert session.person is not None
        for _ in range(3):
            before = session.person.token
            stage.clock.now += stage.forge.expires_in - 30
            assert browser.get("/").status_code == 200
            assert session.person.token != before

    def test_without_a_renewal_it_ends(self, stage: ForgeStage) -> None:
        ada = stage.forge.person("ada")
        browser = stage.log_in(ada)
        stage.forge.take_back(ada)
        stage.clock.now += stage.forge.expires_in
        assert browser.get("/").status_code == 401

    def test_the_forge_is_asked_once_a_minute(self, stage: ForgeStage) -> None:
        browser = stage.log_in(stage.forge.person("ada"))
        asked = len(stage.forge.requests)
        for _ in range(10):
            browser.get("/")
        assert len(stage.forge.requests) == asked
        stage.clock.now += CHECK_S
        browser.get("/")
        browser.get("/")
        assert len(stage.forge.requests) == asked + 2

    def test_another_account_behind_the_token_is_not_let_in(self, stage: ForgeStage) -> None:
        browser = stage.log_in(stage.forge.person("ada"))
        other = {"id": 99, "login": "ada", "full_name": "", "email": ""}
        stage.forge.answers["/api/v1/user"] = lambda: httpx.Response(200, json=other)
        stage.clock.now += CHECK_S
        assert browser.get("/").status_code == 401


class TestTokensOfPrograms:
    def asked(self, stage: ForgeStage, token: str) -> httpx.Response:
        headers = {**JSON, "Authorization": f"Bearer {token}"}
        answer: httpx.Response = stage.browser().get("/overview.json", headers=headers)
        return answer

    def test_a_personal_token_counts_for_its_account(self, stage: ForgeStage) -> None:
        token = stage.forge.personal_token(stage.forge.person("bot"))
        assert self.asked(stage, token).status_code == 200
        asked = len(stage.forge.requests)
        assert self.asked(stage, token).status_code == 200
        assert len(stage.forge.requests) == asked

    def test_what_it_may_is_asked_again(self, stage: ForgeStage) -> None:
        bot = stage.forge.person("bot")
        token = stage.forge.personal_token(bot)
        assert self.asked(stage, token).status_code == 200
        bot.reads = False
        stage.clock.now += CHECK_S
        answer = self.asked(stage, token)
        assert answer.status_code == 403
        assert "read:repository" in answer.json()["remedy"]

    def test_a_token_of_another_application_opens_nothing(self, stage: ForgeStage) -> None:
        ada = stage.forge.person("ada")
        other = stage.forge.register(
            App(client_id="game", secret="x", redirect_uri="https://game.example")
        )
        assert self.asked(stage, stage.forge.access_token(other, ada)).status_code == 401
        assert self.asked(stage, stage.forge.access_token(stage.app, ada)).status_code == 200

    @pytest.mark.parametrize("token", ["", "x", "a" * 10_000, "nobody-knows-it", "a.b.cccccccc"])
    def test_a_token_that_is_nobodys_is_refused(self, stage: ForgeStage, token: str) -> None:
        answer = self.asked(stage, token)
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"].startswith("Bearer")
        assert answer.json()["remedy"]

    def test_guesses_are_limited_and_known_tokens_still_count(self, stage: ForgeStage) -> None:
        good = stage.forge.personal_token(stage.forge.person("bot"))
        assert self.asked(stage, good).status_code == 200
        browser = stage.browser()
        answers = [
            browser.get("/", headers={**JSON, "Authorization": f"Bearer guess-{n:08}"})
            for n in range(UNPROVEN.burst + 1)
        ]
        limited = [a for a in answers if a.status_code == 429]
        assert limited
        assert int(limited[0].headers["retry-after"]) >= 1
        assert "Wait" in limited[0].json()["remedy"]
        stage.clock.now += CHECK_S
        for _ in range(UNPROVEN.burst + 1):
            assert stage.site.people is not None
            stage.site.people._unproven.take()
        assert self.asked(stage, good).status_code == 200, "it was good a minute ago"

    def test_if_the_forge_is_down_no_token_counts(self, stage: ForgeStage) -> None:
        token = stage.forge.personal_token(stage.forge.person("bot"))
        assert self.asked(stage, token).status_code == 200
        stage.forge.down = True
        stage.clock.now += CHECK_S
        assert self.asked(stage, token).status_code == 503


class TestSecrets:
    def test_none_is_in_any_answer_or_log(self, stage: ForgeStage) -> None:
        ada = stage.forge.person("ada")
        texts: list[str] = []
        browser = stage.browser()
        begun = browser.get("/login/forge")
        back = stage.forge.authorize(begun.headers["location"], ada)
        texts += [f"{begun.headers} {begun.text}"]
        for step in (lambda: None, lambda: setattr(stage.forge, "down", True)):
            for path in (back, "/", "/overview.json", "/nothing", "/actions/x", "/new"):
                answer = browser.get(path)
                texts.append(f"{answer.headers} {answer.text}")
            step()
            stage.clock.now += CHECK_S
        stage.forge.down = False
        stage.forge.answers[TOKEN_PATH] = lambda: httpx.Response(
            400, json={"error": stage.forge.issued[-1], "error_description": SECRET}
        )
        other = stage.browser()
        answer = other.get(stage.forge.authorize(stage.at_forge(other), ada))
        assert answer.status_code == 403
        texts += [answer.text, *stage.events, repr(stage.site.people), repr(stage.site.sessions)]
        session = stage.site.sessions.find(browser.cookies[SESSION])
        texts.append(repr(session))
        everything = "\n".join(texts)
        for secret in (SECRET, *stage.forge.issued):
            assert secret not in everything
        assert any(event.startswith("login ") for event in stage.events)

    def test_none_is_in_an_address_of_ours(self, stage: ForgeStage) -> None:
        browser = stage.browser()
        answer = browser.get(
            stage.forge.authorize(stage.at_forge(browser), stage.forge.person("ada"))
        )
        assert answer.headers["location"] == "/"
        assert answer.headers["referrer-policy"] == "same-origin"
