"""The webhook of the listener, over a real socket: who is believed, and what a call has done."""

from __future__ import annotations

import json
from collections.abc import Iterator

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.errors import Misconfigured
from dispatcher.listener.exchange import BODY_LIMIT
from dispatcher.listener.hooks import Outcome, PushHook
from tests.support.listener_site import PUSH, SECRET, Site, listening, serve, sign

MERGED = {
    "message": "Merge pull request 'x (#6)' (#7) from x into main\n\n(#8)",
    "added": ["vault/actions/x.toml"],
    "modified": [],
}
MERGE_PUSH = {**PUSH, "after": "a" * 40, "head_commit": MERGED}
REQUEST = {"number": 7, "merged": True, "merge_commit_sha": "a" * 40, "base": {"ref": "main"}}
MERGED_REQUEST = {
    "action": "closed",
    "number": 7,
    "pull_request": REQUEST,
    "repository": PUSH["repository"],
}


@pytest.fixture
def site() -> Iterator[Site]:
    with listening() as site:
        yield site


@pytest.mark.parametrize(
    ("header", "prefix"),
    [
        ("X_Forgejo_Signature", ""),
        ("X_Gitea_Signature", ""),
        ("X_Hub_Signature_256", "sha256="),
    ],
)
def test_a_signed_push_to_the_branch_rings_once(site: Site, header: str, prefix: str) -> None:
    body = json.dumps(PUSH).encode()
    answer = site.post(body, **{header: prefix + sign(body)})
    assert answer.status_code == 202
    assert site.rings() == site.pushed == 1


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"X_Forgejo_Signature": ""},
        {"X_Hub_Signature_256": "sha256="},
        {"X_Forgejo_Signature": "0" * 64},
        {"X_Forgejo_Signature": "é"},
        {"X_Forgejo_Signature": "RIGHT", "X_Hub_Signature_256": "sha256=" + "0" * 64},
        {"X_Forgejo_Signature": "RIGHT", "X_Gitea_Signature": ""},
        {"X_Hub_Signature": "RIGHT"},
    ],
)
def test_a_call_without_a_right_signature_is_forbidden(site: Site, headers: dict[str, str]) -> None:
    body = json.dumps(PUSH).encode()
    sent = {name: value.replace("RIGHT", sign(body)) for name, value in headers.items()}
    raw = {name.replace("_", "-"): value.encode() for name, value in sent.items()}
    answer = httpx.post(f"{site.url}/hooks/push", content=body, headers=raw, timeout=10)
    assert answer.status_code == 403
    assert site.rings() == 0


def test_a_signature_of_another_body_is_forbidden(site: Site) -> None:
    body = json.dumps(PUSH).encode()
    assert site.post(body + b" ", X_Forgejo_Signature=sign(body)).status_code == 403
    assert site.rings() == 0


def test_a_replayed_call_only_looks_again(site: Site) -> None:
    body = json.dumps(PUSH).encode()
    for _ in range(3):
        assert site.post(body, X_Forgejo_Signature=sign(body)).status_code == 202
    assert site.rings() == 3


@pytest.mark.parametrize(
    "said",
    [
        {**PUSH, "repository": {"full_name": "ops/other"}},
        {**PUSH, "repository": "ops/actions"},
        {**PUSH, "ref": "refs/heads/topic"},
        {**PUSH, "ref": "refs/tags/main"},
        [],
        None,
    ],
)
def test_another_repository_or_branch_is_ignored(site: Site, said: object) -> None:
    body = json.dumps(said).encode()
    assert site.post(body, X_Forgejo_Signature=sign(body)).status_code == 202
    assert site.rings() == 0


def test_a_review_event_rings_as_well(site: Site) -> None:
    body = json.dumps({"action": "reviewed", "repository": PUSH["repository"]}).encode()
    assert site.post(body, X_Forgejo_Signature=sign(body)).status_code == 202
    assert site.rings() == 1
    assert site.pushed == 0, "a review may take an approval back"


def test_a_signed_body_that_is_no_json_is_a_bad_request(site: Site) -> None:
    body = b"payload=%7B%7D"
    answer = site.post(body, X_Forgejo_Signature=sign(body))
    assert answer.status_code == 400
    assert "application/json" in answer.text
    assert site.rings() == 0


def test_a_merge_that_brought_actions_is_named_after_the_push(site: Site) -> None:
    body = json.dumps(MERGE_PUSH).encode()
    assert site.post(body, X_Forgejo_Signature=sign(body)).status_code == 202
    assert site.merged == [(7, "a" * 40)]
    assert site.pushed == 1
    assert site.post(body, X_Forgejo_Signature="0" * 64).status_code == 403
    assert site.merged == [(7, "a" * 40)]


@pytest.mark.parametrize(
    "changed",
    [
        {"ref": "refs/heads/topic"},
        {"after": "a" * 39},
        {"after": "A" * 40},
        {"after": None},
        {"head_commit": None},
        {"head_commit": {**MERGED, "message": "no request\n\nof (#7)"}},
        {"head_commit": {**MERGED, "message": None}},
        {"head_commit": {**MERGED, "added": ["README", "vault/actions/x.result.json"]}},
        {"head_commit": {**MERGED, "added": ["vault/actions/done/x.toml", 3]}},
        {"head_commit": {**MERGED, "added": "vault/actions/x.toml"}},
        {"head_commit": {**MERGED, "added": 3}},
    ],
)
def test_any_other_push_names_no_request(site: Site, changed: dict[str, object]) -> None:
    body = json.dumps({**MERGE_PUSH, **changed}).encode()
    assert site.post(body, X_Forgejo_Signature=sign(body)).status_code == 202
    assert site.merged == []


def test_a_merged_request_is_named_with_the_head_that_it_made(site: Site) -> None:
    body = json.dumps(MERGED_REQUEST).encode()
    assert site.post(body, X_Forgejo_Signature=sign(body)).status_code == 202
    assert (site.pushed, site.heads, site.merged) == (1, ["a" * 40], [(7, "a" * 40)])
    assert site.rings() == 1


@pytest.mark.parametrize(
    "changed",
    [
        {"number": 0},
        {"number": True},
        {"number": 10**9},
        {"number": "7"},
        {"number": None},
        {"merge_commit_sha": None},
        {"merge_commit_sha": "a" * 39},
    ],
)
def test_a_merged_request_that_cannot_be_asked_about_only_looks(
    site: Site, changed: dict[str, object]
) -> None:
    body = json.dumps({**MERGED_REQUEST, "pull_request": {**REQUEST, **changed}}).encode()
    assert site.post(body, X_Forgejo_Signature=sign(body)).status_code == 202
    assert (site.pushed, site.merged) == (1, [])


@pytest.mark.parametrize(
    "said",
    [
        {**MERGED_REQUEST, "pull_request": {**REQUEST, "merged": False}},
        {**MERGED_REQUEST, "pull_request": {**REQUEST, "merged": "yes"}},
        {**MERGED_REQUEST, "pull_request": {**REQUEST, "base": {"ref": "topic"}}},
        {**MERGED_REQUEST, "pull_request": {**REQUEST, "base": None}},
        {**MERGED_REQUEST, "pull_request": 3},
        {**MERGED_REQUEST, "action": "edited"},  # merged long ago, and has another title
        {**MERGED_REQUEST, "action": "opened", "pull_request": {**REQUEST, "merged": False}},
        {**MERGED_REQUEST, "action": "edited", "pull_request": {**REQUEST, "merged": False}},
        {**MERGED_REQUEST, "repository": {"full_name": "ops/other"}},
    ],
)
def test_a_request_that_was_not_merged_into_the_branch_is_ignored(
    site: Site, said: dict[str, object]
) -> None:
    body = json.dumps(said).encode()
    assert site.post(body, X_Forgejo_Signature=sign(body)).status_code == 202
    assert (site.rings(), site.merged) == (0, [])


def test_a_review_of_a_merged_request_asks_everything_again(site: Site) -> None:
    body = json.dumps({**MERGED_REQUEST, "action": "reviewed"}).encode()
    assert site.post(body, X_Forgejo_Signature=sign(body)).status_code == 202
    assert (site.rings(), site.pushed, site.merged) == (1, 0, [])


@pytest.mark.parametrize(("after", "head"), [("a" * 40, "a" * 40), ("a" * 39, ""), (None, "")])
def test_a_push_tells_at_which_commit_the_branch_is(site: Site, after: object, head: str) -> None:
    body = json.dumps({**PUSH, "after": after}).encode()
    assert site.post(body, X_Forgejo_Signature=sign(body)).status_code == 202
    assert site.heads == [head]


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_over_the_limit_is_refused_before_it_is_judged(site: Site, chunked: bool) -> None:
    body = b" " * (BODY_LIMIT + 2)
    content = iter([body]) if chunked else body
    headers = {"X-Forgejo-Signature": sign(body)}
    try:
        answer = httpx.post(f"{site.url}/hooks/push", content=content, headers=headers, timeout=10)
    except httpx.TransportError:  # closed on us while we were still sending
        pass
    else:
        assert answer.status_code == 413
    assert site.rings() == 0
    assert site.get("/healthz").status_code == 200


def test_without_a_secret_the_endpoint_says_so() -> None:
    site = Site()
    with serve(site, None):
        body = json.dumps(PUSH).encode()
        answer = site.post(body, X_Forgejo_Signature=sign(body))
        assert answer.status_code == 503
        assert "webhook_secret_file" in answer.text
        assert site.rings() == 0


def test_a_short_secret_is_a_mistake_of_the_settings() -> None:
    with pytest.raises(Misconfigured, match="has 0 bytes"):
        PushHook(secret=b"", repository="", branch="main")


@given(body=st.binary(max_size=300), name=st.sampled_from(["X-Forgejo-Signature", "X-Other"]))
def test_no_body_rings_without_the_secret(body: bytes, name: str) -> None:
    hook = PushHook(secret=SECRET, repository="", branch="main")
    forged = {name: sign(body, b"another secret of enough bytes")}
    assert hook.judge(forged, body).outcome is Outcome.FORGED


@given(
    said=st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        max_leaves=10,
    )
)
def test_any_signed_json_is_judged_without_an_error(said: object) -> None:
    body = json.dumps(said).encode()
    hook = PushHook(secret=SECRET, repository="ops/actions", branch="main")
    assert hook.judge({"X-Forgejo-Signature": sign(body)}, body).outcome is Outcome.IGNORED
