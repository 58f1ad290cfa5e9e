"""The forge's client: paging, errors and what it takes for an answer."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from dispatcher.assembly import open_forge, open_vault
from dispatcher.errors import Denied, Misconfigured, Unavailable
from dispatcher.forge import ForgeApi, ForgeRefused, TooLarge
from dispatcher.forge.exchange import MAX_PAGES, PAGE
from dispatcher.settings import ForgeSettings, Settings

TOKEN = "a-token-that-must-not-be-told"
SHA = "a" * 40

Answer = Callable[[httpx.Request], httpx.Response]


def api(
    answer: Answer, *, repository: str = "ops/actions", url: str = "https://forge.test"
) -> ForgeApi:
    settings = ForgeSettings(url=url, repository=repository)
    return ForgeApi(settings, token=TOKEN, transport=httpx.MockTransport(answer))


def always(status: int, body: object) -> Answer:
    return lambda _request: httpx.Response(status, content=json.dumps(body))


def review(number: int, user: Any = None) -> dict[str, Any]:
    return {
        "id": number,
        "user": user,
        "state": "APPROVED",
        "commit_id": SHA,
        "stale": False,
        "official": True,
        "dismissed": False,
        "submitted_at": "2026-01-01T12:00:00Z",
    }


@pytest.mark.parametrize(
    ("sizes", "total", "calls"),
    [
        ([30, 50, 1], "81", 3),  # a forge may give fewer than it was asked for
        ([30, 50, 1], "90", 4),  # it filters entries that it has counted
        ([30, 50, 1], None, 4),
        ([30, 50, 1], "x", 4),
        ([50, 50], "50", 3),  # a full page is no end, whatever the header says
        ([2], "2", 1),
    ],
)
def test_reviews_are_read_until_all_that_the_forge_counts_are_there_or_a_page_is_empty(
    sizes: list[int], total: str | None, calls: int
) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        page = int(request.url.params["page"])
        size = sizes[page - 1] if page <= len(sizes) else 0
        entries = [review(page * 100 + n) for n in range(size)]
        headers = {} if total is None else {"X-Total-Count": total}
        return httpx.Response(200, json=entries, headers=headers)

    forge = api(answer)
    assert len(forge.reviews(1)) == sum(sizes)
    assert forge.calls == calls


def test_a_time_line_is_read_until_a_page_is_empty_whatever_its_header_says() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        pushed: dict[str, object] = {"type": "pull_push", "body": json.dumps({"commit_ids": [SHA]})}
        pushed |= {"created_at": "2026-01-01T12:00:00Z", "user": None}
        entries = [pushed] if int(request.url.params["page"]) <= 2 else []
        return httpx.Response(200, json=entries, headers={"X-Total-Count": "1"})

    assert len(api(answer).pushes(1)) == 2


def test_a_forge_that_finds_no_commit_is_asked_for_one_once() -> None:
    request = {
        "number": 1,
        "state": "closed",
        "merged": True,
        "merge_commit_sha": SHA,
        "user": None,
        "base": {"ref": "main", "sha": SHA},
        "head": {"ref": "topic", "sha": SHA},
    }
    closed: list[object] = []

    def answer(asked: httpx.Request) -> httpx.Response:
        if asked.url.path.endswith("/pulls"):
            return httpx.Response(200, json=closed)
        return httpx.Response(404, json={"message": "not found"})

    forge = api(answer)
    for _ in range(2):  # none may be recorded yet
        assert forge.request_of(SHA) is None
        assert forge.closed_requests(1) == []
    assert forge.calls == 4
    closed.append(request)
    assert forge.request_of(SHA) is None
    assert len(forge.closed_requests(1)) == 1
    assert forge.request_of(SHA) is None
    assert forge.calls == 6


def test_an_endless_list_is_given_up() -> None:
    forge = api(always(200, [review(n) for n in range(PAGE)]))
    with pytest.raises(TooLarge):
        forge.reviews(1)
    assert forge.calls == MAX_PAGES


def test_gos_empty_list_is_null() -> None:
    assert api(always(200, None)).reviews(1) == []


@pytest.mark.parametrize(
    "user",
    [None, {"id": -1, "login": "Ghost"}, {"id": 0, "login": ""}],
    ids=["null", "ghost", "none"],
)
def test_a_deleted_account_is_nobody_or_no_answer(user: Any) -> None:
    pages = iter([[review(1, user)], []])
    forge = api(lambda _request: httpx.Response(200, json=next(pages)))
    if user == {"id": 0, "login": ""}:
        with pytest.raises(Unavailable):
            forge.reviews(1)
    else:
        assert [r.user for r in forge.reviews(1)] == [None]


@pytest.mark.parametrize(
    "field", ["stale", "official", "dismissed", "commit_id", "state", "submitted_at", "user"]
)
def test_a_review_without_a_field_that_matters_is_no_answer(field: str) -> None:
    broken = review(1)
    del broken[field]
    with pytest.raises(Unavailable, match="fields missing or wrong"):
        api(always(200, [broken])).reviews(1)


@pytest.mark.parametrize("field", ["stale", "official", "dismissed"])
@pytest.mark.parametrize("value", ["false", 0, None, "", 1])
def test_a_flag_of_another_type_is_no_answer(field: str, value: object) -> None:
    with pytest.raises(Unavailable):
        api(always(200, [{**review(1), field: value}])).reviews(1)


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504, 301, 302, 307, 204, 418])
def test_a_status_that_says_nothing_is_unavailable(status: int) -> None:
    with pytest.raises(Unavailable):
        api(always(status, [])).reviews(1)


@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_token_is_denied_with_a_remedy_and_without_the_token(status: int) -> None:
    with pytest.raises(Denied) as caught:
        api(always(status, {"message": "token is wrong"})).permission("boss")
    assert "token is wrong" in str(caught.value)
    assert "DISINTO_FORGE_TOKEN" in str(caught.value)
    assert "administers the ops repo" in str(caught.value)
    assert "write:issue" in str(caught.value)
    assert TOKEN not in str(caught.value)


def test_a_missing_token_is_told_with_variable_and_scopes(tmp_path: Path) -> None:
    settings = Settings(
        state_dir=tmp_path, forge=ForgeSettings(url="https://forge.test", repository="acme/ops")
    )
    with pytest.raises(Misconfigured, match=r"DISINTO_FORGE_TOKEN .*write:repository"):
        open_forge(settings, {}, open_vault(settings, {}))


def test_no_connection_is_unavailable_and_does_not_tell_the_token() -> None:
    def fail(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused", request=request)

    forge = api(fail)
    with pytest.raises(Unavailable) as caught:
        forge.me()
    assert TOKEN not in f"{caught.value!r} {caught.value} {caught.value.__cause__!r} {forge!r}"
    assert forge.calls == 1


def test_redirects_are_not_followed_with_the_token() -> None:
    asked: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        return httpx.Response(302, headers={"Location": "https://elsewhere.test/"})

    with pytest.raises(Unavailable):
        api(answer).me()
    assert [r.url.host for r in asked] == ["forge.test"]


@pytest.mark.parametrize("body", [b"{", b"\xff", b"[" * 10_000, b"", b'"x"', b"{}"])
def test_a_body_that_is_not_the_record_is_no_answer(body: bytes) -> None:
    forge = api(lambda _request: httpx.Response(200, content=body))
    with pytest.raises(Unavailable):
        forge.me()


def test_an_unknown_commit_has_no_request() -> None:
    assert api(always(404, {"message": "not found"})).request_of(SHA) is None


def test_what_must_be_there_and_is_not_is_no_answer() -> None:
    with pytest.raises(Unavailable, match="404"):
        api(always(404, {})).reviews(1)


@pytest.mark.parametrize(
    "content",
    [
        {"type": "symlink", "sha": SHA, "path": "a/b"},
        {"type": "submodule", "sha": SHA, "path": "a/b"},
        {"type": "file", "sha": SHA, "path": "a/B"},
        [{"type": "file", "sha": SHA, "path": "a/b"}],
    ],
)
def test_only_a_regular_file_of_that_name_has_a_blob(content: object) -> None:
    assert api(always(200, content)).blob_at(SHA, "a/b") is None


def test_a_file_has_a_blob() -> None:
    asked: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.raw_path.decode())
        return httpx.Response(200, json={"type": "file", "sha": SHA, "path": "a b/ü?.toml"})

    assert api(answer).blob_at(SHA, "a b/ü?.toml") == SHA
    assert asked == [f"/api/v1/repos/ops/actions/contents/a%20b/%C3%BC%3F.toml?ref={SHA}"]


def test_the_ref_of_another_request_is_not_taken() -> None:
    refs = [{"ref": "refs/pull/71/head", "object": {"sha": SHA, "type": "commit"}}]
    assert api(always(200, refs)).merged_head(7) is None


def test_an_unmerged_request_may_have_an_empty_merge_commit() -> None:
    request = {
        "number": 1,
        "state": "closed",
        "merged": False,
        "merge_commit_sha": "",
        "user": None,
        "base": {"ref": "main", "sha": SHA},
        "head": {"ref": "topic", "sha": ""},
    }
    assert api(always(200, [request])).closed_requests(1)[0].merge_commit_sha is None


def test_a_refused_write_says_why() -> None:
    forge = api(always(422, {"message": "head does not exist"}))
    with pytest.raises(ForgeRefused, match="head does not exist") as caught:
        forge.open_request(head="a", base="main", title="t", body="b")
    assert caught.value.status == 422


def test_an_unknown_team_is_a_mistake_of_the_settings() -> None:
    pages = iter([[{"id": 1, "name": "approvers2"}], []])
    forge = api(lambda _request: httpx.Response(200, json=next(pages)))
    with pytest.raises(Misconfigured, match="ops/approvers"):
        forge.in_team("ops/approvers", "boss")


@pytest.mark.parametrize("repository", ["", "ops", "ops/", "/x", "a/b/c"])
def test_a_repository_is_owner_and_name(repository: str) -> None:
    with pytest.raises(Misconfigured, match="owner/name"):
        api(always(200, {}), repository=repository)


@pytest.mark.parametrize("url", ["", "forge.test", "ftp://forge.test"])
def test_an_address_is_http(url: str) -> None:
    with pytest.raises(Misconfigured, match="url"):
        api(always(200, {}), url=url)
