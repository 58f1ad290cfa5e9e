"""What surrounds every page: who may come in, what is refused, and how errors look."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from dispatcher.errors import Conflict, Dependency, NotFound, Unavailable
from dispatcher.page.answers import Answer, Redirect, View, local_path
from dispatcher.page.operator_link import OperatorLink
from dispatcher.page.problems import REMEDIES, TITLES, Problem
from dispatcher.page.rendering import static_path
from dispatcher.page.routing import Page, all_pages
from dispatcher.page.sessions import LONGEST_S, Person, Sessions
from dispatcher.page.site import Site
from dispatcher.page.visit import BODY_LIMIT, Visit
from tests.support.page_client import JSON, ORIGIN, a_client, a_site, logged_in

MARKUP = "<script>alert(1)</script><img src=x onerror=alert(2)>"


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return a_site(tmp_path)


def _raising(error: Exception) -> Page:
    def fail(_visit: Visit) -> Answer:
        raise error

    return Page(path="/fail", name="fail", handler=fail, summary="")


def _post(handler_calls: list[dict[str, object]]) -> Page:
    def take(visit: Visit) -> Answer:
        handler_calls.append(dict(visit.form))
        return Redirect(path="/done", data={"done": True})

    return Page(path="/take", name="take", handler=take, method="POST", summary="")


class TestTheLinkOfTheOperator:
    def test_it_logs_in_once(self, site: Site) -> None:
        assert site.link is not None
        url = site.link.renew()
        first, second = a_client(site), a_client(site)
        answer = first.get(url)
        assert (answer.status_code, answer.headers["location"]) == (303, "/")
        cookie = answer.headers["set-cookie"]
        assert "HttpOnly" in cookie
        assert "SameSite=lax" in cookie
        assert first.get("/").status_code == 200
        assert second.get(url).status_code == 403
        assert second.get("/").status_code == 401

    def test_each_use_announces_the_next(self) -> None:
        announced: list[str] = []
        link = OperatorLink(ORIGIN, announced.append)
        link.renew()
        assert link.redeem(announced[0].rsplit("/", 1)[1])
        assert len(set(announced)) == 2
        assert not link.redeem(announced[0].rsplit("/", 1)[1])

    def test_a_prefetch_does_not_use_it_up(self, site: Site) -> None:
        assert site.link is not None
        url, client = site.link.renew(), a_client(site)
        assert client.get(url, headers={"Sec-Purpose": "prefetch"}).status_code == 503
        assert client.head(url).status_code == 503
        assert client.get(url).status_code == 303

    def test_a_session_from_before_is_not_logged_in_with(self, site: Site) -> None:
        assert site.link is not None
        client = a_client(site)
        planted = site.sessions.begin()
        client.cookies.set("disinto_session", site.sessions.cookie(planted), domain="127.0.0.1")
        client.get(site.link.renew())
        assert site.sessions.find(site.sessions.cookie(planted)) is None


class TestSessions:
    def test_a_made_up_cookie_is_nobody(self) -> None:
        sessions = Sessions()
        session = sessions.begin(Person(login="ada"))
        assert sessions.find(sessions.cookie(session)) is session
        for made_up in ("", ".", session.id, f"{session.id}.", f"{session.id}.{'0' * 64}", "ü.ü"):
            assert sessions.find(made_up) is None

    def test_it_ends(self) -> None:
        now = [0.0]
        sessions = Sessions(clock=lambda: now[0])
        cookie = sessions.cookie(sessions.begin())
        while now[0] < LONGEST_S - 3600:
            now[0] += 3600
            assert sessions.find(cookie)
        now[0] += 3700
        assert sessions.find(cookie) is None

    def test_the_store_is_bounded(self) -> None:
        sessions = Sessions(most=3)
        cookies = [sessions.cookie(sessions.begin()) for _ in range(4)]
        assert [sessions.find(cookie) is not None for cookie in cookies] == [
            False,
            True,
            True,
            True,
        ]

    def test_by_https_the_cookie_is_secure_and_of_this_host(self, tmp_path: Path) -> None:
        site = a_site(tmp_path, origin="https://ops.example.org")
        assert site.link is not None
        answer = a_client(site).get(site.link.renew())
        assert answer.headers["set-cookie"].startswith("__Host-disinto_session=")
        assert "Secure" in answer.headers["set-cookie"]
        assert "Strict-Transport-Security" in answer.headers

    def test_logging_out_ends_it(self, site: Site) -> None:
        client = logged_in(site)
        token = re.search(r'name="form_token" value="(\w+)"', client.get("/").text)
        assert token is not None
        cookie = client.cookies["disinto_session"]
        assert client.post("/leave", data={"form_token": token[1]}).status_code == 303
        assert site.sessions.find(cookie) is None


class TestForms:
    @pytest.mark.parametrize(
        ("origin", "with_token", "status"),
        [
            (ORIGIN, True, 303),
            ("http://localhost:8490", True, 303),
            (None, True, 303),
            (ORIGIN, False, 403),
            (None, False, 403),
            ("https://evil.example", True, 403),
            ("null", True, 403),
        ],
    )
    def test_only_those_of_this_session(
        self, site: Site, origin: str | None, *, with_token: bool, status: int
    ) -> None:
        taken: list[dict[str, object]] = []
        client = logged_in(site, [_post(taken)])
        session = site.sessions.find(client.cookies["disinto_session"])
        assert session is not None
        data = {"id": "x"}
        if with_token:
            data["form_token"] = site.sessions.form_token(session)
        answer = client.post("/take", data=data, headers={"Origin": origin} if origin else {})
        assert answer.status_code == status
        assert bool(taken) == (status == 303)

    def test_the_token_of_another_session_counts_for_nothing(self, site: Site) -> None:
        other = site.sessions.begin(Person(login="eve"))
        client = logged_in(site, [_post([])])
        data = {"form_token": site.sessions.form_token(other)}
        assert client.post("/take", data=data).status_code == 403

    def test_a_token_of_the_forge_needs_no_form_token(self, site: Site) -> None:
        taken: list[dict[str, object]] = []
        site.bearer = {"good": Person(login="bot")}.get
        client = a_client(site, [_post(taken)])
        for token, status in (("good", 200), ("bad", 401)):
            headers = {**JSON, "Authorization": f"Bearer {token}"}
            answer = client.post("/take", json={"id": ["x"]}, headers=headers)
            assert answer.status_code == status
        assert taken == [{"id": ["x"]}]

    @pytest.mark.parametrize("body", [b"[1]", b"{", b"\xff", b"[" * 100_000])
    def test_what_is_no_form_is_refused(self, site: Site, body: bytes) -> None:
        client = logged_in(site, [_post([])])
        kinds = ("application/json", "multipart/form-data; boundary=x")
        for kind in kinds:
            answer = client.post("/take", content=body, headers={"Content-Type": kind})
            assert answer.status_code == 400

    def test_a_large_one_is_not_read(self, site: Site) -> None:
        client = logged_in(site, [_post([])])
        answer = client.post("/take", content=b"a" * (BODY_LIMIT + 1))
        assert answer.status_code == 413
        pieces = (b"a" * 65_536 for _ in range(160))
        assert client.post("/take", content=pieces).status_code == 413


class TestProtection:
    @pytest.mark.parametrize("host", ["evil.example", "127.0.0.1", "127.0.0.1:80", ""])
    def test_another_host_gets_nothing(self, site: Site, host: str) -> None:
        answer = logged_in(site).get("/", headers={"Host": host})
        assert answer.status_code == 421
        assert "disinto" not in answer.text

    def test_every_answer_has_a_strict_policy(self, site: Site) -> None:
        client = logged_in(site)
        paths = ("/", "/overview.json", "/nothing", f"{static_path()}/page.css", "/leave")
        for path in paths:
            policy = client.get(path).headers["content-security-policy"]
            assert "default-src 'none'" in policy
            assert "unsafe" not in policy
            assert "frame-ancestors 'none'" in policy

    def test_only_files_are_kept_by_browsers(self, site: Site) -> None:
        client = logged_in(site)
        assert client.get("/").headers["cache-control"] == "no-store"
        assert "immutable" in client.get(f"{static_path()}/page.css").headers["cache-control"]
        for path in ("/nothing.css", "/../app.py", "/%2e%2e/app.py"):
            answer = client.get(f"{static_path()}{path}")
            assert (answer.status_code, answer.headers["cache-control"]) == (404, "no-store")

    def test_no_page_has_code_or_style_inside(self) -> None:
        from dispatcher.page.rendering import TEMPLATES

        for path in TEMPLATES.glob("*.html"):
            html = path.read_text("utf-8")
            assert not re.search(r"<style|\sstyle=|\son\w+=|javascript:|\|\s*safe\b", html), path
            for script in re.findall(r"<script[^>]*>", html):
                assert re.search(r'src="\{\{ static \}\}/\w+\.js"', script), path

    @pytest.mark.parametrize(
        "path",
        ["//evil.example", "https://evil.example", "/\\evil.example", "", "evil", "/a\nb", "/ü"],
    )
    def test_one_cannot_be_led_elsewhere(self, path: str) -> None:
        assert local_path(path) == "/"

    def test_a_path_of_this_site_is_kept(self) -> None:
        assert local_path("/actions/x?tail=1") == "/actions/x?tail=1"


class TestProblems:
    @pytest.mark.parametrize(
        ("error", "status"),
        [
            (NotFound("there is no action x"), 404),
            (Conflict("changed"), 409),
            (Unavailable(Dependency.VAULT, "Vault is sealed"), 503),
            (ZeroDivisionError("secret detail"), 500),
        ],
    )
    def test_as_problem_details(self, site: Site, error: Exception, status: int) -> None:
        answer = logged_in(site, [_raising(error)]).get("/fail", headers=JSON)
        assert answer.status_code == status
        assert answer.headers["content-type"] == "application/problem+json"
        details = answer.json()
        assert details["status"] == status
        assert {"type", "title", "detail"} <= set(details)
        assert "secret detail" not in answer.text

    @pytest.mark.parametrize("status", [*TITLES, 418])
    def test_each_says_what_to_do(self, site: Site, status: int) -> None:
        """Also where nothing more precise is known, in every language."""
        problem = Problem(status=status)
        answer = logged_in(site, [_raising(problem)]).get("/fail", headers=JSON)
        assert answer.status_code == status
        assert answer.json().get("remedy") == REMEDIES.get(status)
        assert set(REMEDIES) == set(TITLES)

    def test_what_nobody_logged_in_and_the_wrong_method_get(self, site: Site) -> None:
        pages = [_raising(Conflict("changed"))]
        asked = {
            "401": a_client(site, pages).get("/fail", headers=JSON),
            "404": logged_in(site, pages).get("/nothing", headers=JSON),
            "405": logged_in(site, pages).post("/fail", headers=JSON),
            "409": logged_in(site, pages).get("/fail", headers=JSON),
        }
        assert {name: str(answer.status_code) for name, answer in asked.items()} == {
            name: name for name in asked
        }
        assert all(answer.json()["remedy"] for answer in asked.values())

    def test_as_a_page_its_markup_is_dead(self, site: Site) -> None:
        error = NotFound(f"there is no {MARKUP}", remedy=MARKUP)
        answer = logged_in(site, [_raising(error)]).get("/fail")
        assert answer.status_code == 404
        assert "<script>alert" not in answer.text
        assert "onerror=alert(2)&gt;" in answer.text

    def test_a_defect_is_logged(self, site: Site) -> None:
        logged: list[str] = []
        site.event = lambda name, /, **_facts: logged.append(name)
        logged_in(site, [_raising(KeyError("x"))]).get("/fail")
        assert logged == ["defect"]

    def test_an_unknown_address_is_a_page_as_well(self, site: Site) -> None:
        answer = logged_in(site).get("/nothing")
        assert answer.status_code == 404
        assert "Log out" in answer.text
        assert logged_in(site).post("/nothing", headers=JSON).json()["status"] == 404


class TestViews:
    def test_every_page_is_there_as_json(self, site: Site) -> None:
        page = Page(
            path="/things/{id}",
            name="thing",
            summary="",
            handler=lambda visit: View(
                template="problem.html", title="x", data={"id": visit.given("id")}
            ),
        )
        client = logged_in(site, [page])
        assert client.get("/things/a.json").json() == {"id": "a"}
        assert client.get("/things/a", headers=JSON).json() == {"id": "a"}

    def test_names_and_addresses_are_given_once(self) -> None:
        pages = all_pages()
        addresses = [(page.method, page.path) for page in pages]
        assert len(set(addresses)) == len(addresses)
        assert len({page.name for page in pages}) == len(pages)

    def test_nothing_is_public_but_the_entrance(self) -> None:
        assert {page.name for page in all_pages() if page.public} == {
            "enter",
            "leave",
            "login",
            "logged_in",
            "openapi",
            "health",
        }
