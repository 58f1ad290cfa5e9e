"""The page as an application of a real Forgejo: who is let in, whose token sends, and that no secret is
left anywhere.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from dispatcher.model.checks import Check
from dispatcher.operate.web_checks import check_web
from dispatcher.page.people import CHECK_S
from tests.servers.bao import Bao
from tests.servers.forgejo import Forgejo
from tests.support.approval_story import Story, set_story
from tests.support.page_client import JSON
from tests.support.page_on_forge import PageOnForge, page_on_forge, sent
from tests.support.stage import eventually

pytestmark = pytest.mark.needs("bao", "forgejo", "git")


@pytest.fixture
def story(forge: Forgejo, bao_server: Bao, tmp_path: Path) -> Story:
    return set_story(forge, bao_server, tmp_path)


@pytest.fixture
def page(story: Story, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[PageOnForge]:
    monkeypatch.setenv("OPS_TOKEN", story.forge.owner.token)
    settings = story.stage.scene.open_settings()
    with page_on_forge(settings, tmp_path, story.forge.owner) as page:
        yield page


def by_token(page: PageOnForge, token: str, path: str = "/overview.json") -> httpx.Response:
    headers = {**JSON, "Authorization": f"Bearer {token}"}
    return httpx.get(f"{page.origin}{path}", headers=headers, timeout=30)


class Arguments:
    """Watches the arguments of all processes while the block runs."""

    def __enter__(self) -> Arguments:
        self.seen: set[bytes] = set()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._over.wait(0.002):
            for entry in Path("/proc").iterdir():
                if entry.name.isdigit():
                    try:
                        self.seen.add((entry / "cmdline").read_bytes())
                    except OSError:
                        continue


@eventually
def pusher_of(story: Story, commit: str) -> str:
    """Who pushed a commit, by the forge's own records, which it writes in its own time."""
    feeds = story.forge.repo(story.forge.owner, "GET", "/activities/feeds", limit=50)
    (who,) = {
        feed["act_user"]["login"]
        for feed in feeds
        if feed["op_type"] == "commit_repo" and commit in feed["content"]
    }
    return str(who)


def test_what_a_person_sends_is_theirs_and_leaves_no_secret(
    story: Story, page: PageOnForge, tmp_path: Path
) -> None:
    people = story.forge
    alice = page.log_in(people.alice, "/new")
    with Arguments() as arguments:
        assert sent(alice, "hello", "low-1").status_code == 303
        assert sent(alice, "danger", "high-1").status_code == 303
    assert any(b"push" in each for each in arguments.seen), "it saw git at work"

    clone = people.clone(people.owner)
    commit = clone.git("rev-parse", "origin/main").strip()
    author = clone.git("log", "-1", "--format=%an <%ae>", "origin/main").strip()
    assert author == f"{people.alice.login} <{people.alice.email}>"
    assert pusher_of(story, commit) == people.alice.login
    (request,) = people.repo(people.owner, "GET", "/pulls", state="open")
    assert request["user"]["login"] == people.alice.login
    assert request["head"]["ref"] == "disinto/high-1"
    assert pusher_of(story, request["head"]["sha"]) == people.alice.login

    secrets = [page.secret, page.token_of(alice)]
    written = [f.read_bytes() for f in page.state_dir.rglob("*") if f.is_file()]
    shown = [alice.get(path).content for path in ("/", "/new", "/actions/low-1", "/overview.json")]
    for secret in secrets:
        for each in (*written, *shown, *arguments.seen, "\n".join(page.events).encode()):
            assert secret.encode() not in each


def test_a_reader_looks_and_cannot_send(story: Story, page: PageOnForge) -> None:
    reader = page.log_in(story.forge.passer_by)
    assert reader.get("/overview.json").status_code == 200
    for formula in ("hello", "danger"):
        answer = sent(reader, formula, "x")
        assert answer.status_code == 403, answer.text
        assert "write access" in answer.text
        assert story.forge.passer_by.login in answer.text
    assert story.forge.repo(story.forge.owner, "GET", "/pulls", state="open") == []


def test_who_may_not_read_stays_out_and_who_loses_it_is_out(
    forge: Forgejo, story: Story, page: PageOnForge
) -> None:
    stranger, guest = forge.account("stranger"), forge.account("guest")
    with pytest.raises(AssertionError, match="does not let you read"):
        page.log_in(stranger)
    story.forge.allow(guest, "read")
    browser = page.log_in(guest)
    session = page.site.sessions.find(browser.cookies["disinto_session"])
    assert session is not None
    assert session.login is not None

    # An expired token is renewed by the real endpoint.
    session.login.expires = 0.0
    assert browser.get("/overview.json").status_code == 200
    assert session.login.expires > CHECK_S, "within the same second the token is the same"

    story.forge.repo(story.forge.owner, "DELETE", f"/collaborators/{guest.login}")
    session.login.checked -= CHECK_S
    answer = browser.get("/overview.json")
    assert answer.status_code == 403
    assert browser.get("/overview.json").status_code == 401


def test_tokens_of_programs(story: Story, page: PageOnForge) -> None:
    people = story.forge
    reading = people.alice.with_scopes("read:user", "read:repository")
    assert by_token(page, reading.token).status_code == 200
    less = people.alice.with_scopes("read:user")
    assert by_token(page, less.token).status_code == 403
    assert by_token(page, "0" * 40).status_code == 401

    body = {"id": "by-token", "context": "", "secrets": [], "params": {}, "step": "send"}
    for account, status in ((reading, 403), (people.alice, 200)):
        answer = httpx.post(
            f"{page.origin}/new/hello",
            json=body,
            headers={**JSON, "Authorization": f"Bearer {account.token}"},
            timeout=30,
        )
        assert answer.status_code == status, answer.text
    assert pusher_of(story, answer.json()["commit"]) == people.alice.login


def test_a_token_that_another_application_got_opens_nothing(
    story: Story, page: PageOnForge, tmp_path: Path
) -> None:
    alice = page.log_in(story.forge.alice)
    assert by_token(page, page.token_of(alice)).status_code == 200
    (tmp_path / "other").mkdir()
    settings = page.site.settings
    with page_on_forge(settings, tmp_path / "other", story.forge.owner) as other:
        foreign = other.token_of(other.log_in(story.forge.alice))
        assert by_token(other, foreign).status_code == 200
        assert by_token(page, foreign).status_code == 401


def test_the_way_back_counts_once_and_in_one_browser(story: Story, page: PageOnForge) -> None:
    people = story.forge
    browser = page.log_in(people.alice)
    browser.follow_redirects = False
    begun = browser.get("/login/forge")
    granted = browser.get(begun.headers["location"])
    back = granted.headers["location"]
    assert re.match(rf"{re.escape(page.origin)}/login/forge/back\?", back)
    assert httpx.get(back, headers={"Accept": "text/html"}).status_code == 403
    assert browser.get(back).status_code == 303
    assert browser.get(back).status_code == 403


def test_cancelling_at_the_forge_is_explained(page: PageOnForge) -> None:
    browser = httpx.Client(base_url=page.origin, headers={"Accept": "text/html"})
    browser.get("/login/forge")
    answer = browser.get("/login/forge/back")  # where its button leads, with nothing else
    assert answer.status_code == 403
    assert "did not authorize" in answer.text


def test_doctor_says_what_the_forge_minds(page: PageOnForge, tmp_path: Path) -> None:
    settings = page.site.settings
    file = settings.web.client_secret_file
    assert file is not None
    file.chmod(0o600)

    def checks(secret: str = page.secret, **web: object) -> dict[str, Check]:
        own = settings.model_copy(
            update={"web": settings.web.model_copy(update={"origin": page.origin, **web})}
        )
        return {check.name: check for check in check_web(own, lambda: secret)}

    assert [c.ok for c in checks().values()] == [True]
    for found, words in (
        (checks(secret="x" * 40), "invalid client secret"),
        (checks(client_id="unknown"), "unknown"),
        (checks(origin="https://elsewhere.example"), "has another redirect URI"),
    ):
        assert not found["web: forge"].ok
        assert words in found["web: forge"].detail
        assert found["web: forge"].remedy
        assert page.secret not in str(found)
    file.chmod(0o644)
    assert not checks()["web: client secret"].ok
