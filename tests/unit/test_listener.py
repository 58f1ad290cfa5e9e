"""The listener: webhook, health, readiness and metrics, over a real socket."""

from __future__ import annotations

import hashlib
import hmac
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.errors import Dependency, Misconfigured
from dispatcher.listener.app import App
from dispatcher.listener.exchange import BODY_LIMIT
from dispatcher.listener.hooks import Outcome, PushHook
from dispatcher.listener.serving import Listener
from dispatcher.model.health import DependencyHealth, Health, WaitingFor
from dispatcher.model.payload import END_NOTICE_BYTES
from dispatcher.model.verdicts import Verdict
from dispatcher.status.metrics import Metrics

SECRET = b"a secret of more than sixteen bytes"
NOW = 1_900_000_000.0
PUSH = {"ref": "refs/heads/main", "repository": {"full_name": "Ops/Actions"}, "commits": []}
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

WELL = Health(
    leader=True,
    beat_at=NOW - 1,
    started_at=NOW - 100,
    dependencies=(DependencyHealth(dependency=Dependency.REMOTE, up=True, since=NOW - 90),),
    in_flight=2,
    waiting={WaitingFor.APPROVAL: 3},
)


def sign(body: bytes, secret: bytes = SECRET) -> str:
    return hmac.new(secret, body, hashlib.sha256).hexdigest()


@dataclass
class Site:
    """A listener on a free port, with a doorbell that counts."""

    health: Health = WELL
    metrics: Metrics = field(default_factory=Metrics)
    rung: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    pushed: int = 0
    heads: list[str] = field(default_factory=list)
    merged: list[tuple[int, str]] = field(default_factory=list)
    url: str = ""

    def post(self, body: bytes, **headers: str) -> httpx.Response:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return httpx.post(f"{self.url}/hooks/push", content=body, headers=named, timeout=10)

    def get(self, path: str) -> httpx.Response:
        return httpx.get(f"{self.url}{path}", timeout=10)

    def ring_for_push(self, head: str) -> None:
        self.pushed += 1
        self.heads.append(head)
        self.rung.release()

    def rings(self) -> int:
        count = 0
        while self.rung.acquire(blocking=False):
            count += 1
        return count


def serve(site: Site, hook: PushHook | None) -> Listener:
    site.metrics.watch(lambda: site.health, forge_calls=lambda: 7)
    app = App(
        health=lambda: site.health,
        metrics=site.metrics,
        wake=site.rung.release,
        moved=site.ring_for_push,
        merged=lambda number, commit: site.merged.append((number, commit)),
        hook=hook,
        ended=b"genuine".__eq__,
        clock=lambda: NOW,
    )
    listener = Listener(app, listen="127.0.0.1:0")
    site.url = f"http://127.0.0.1:{listener.port}"
    return listener


@pytest.fixture
def site() -> Iterator[Site]:
    site = Site()
    with serve(site, PushHook(secret=SECRET, repository="ops/actions", branch="main")):
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


def test_notices_of_runners_are_passed_on(site: Site) -> None:
    def post(notice: bytes) -> int:
        return httpx.post(f"{site.url}/runs/ended", content=notice, timeout=10).status_code

    assert post(b"genuine") == 202
    assert post(b"forged") == 403
    assert post(b"x" * (END_NOTICE_BYTES + 1)) == 413
    assert site.get("/runs/ended").status_code == 405


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


def test_a_warning_is_in_the_body_and_changes_no_answer(site: Site) -> None:
    site.health = replace(WELL, warnings=("a job was changed",))
    for path in ("/healthz", "/readyz"):
        answer = site.get(path)
        assert answer.status_code == 200
        assert answer.json()["warnings"] == ["a job was changed"]


def test_health_names_what_is_down_and_since_when(site: Site) -> None:
    down = DependencyHealth(
        dependency=Dependency.FORGE, up=False, since=NOW - 60, error="no answer"
    )
    site.health = replace(WELL, dependencies=(*WELL.dependencies, down))
    answer = site.get("/healthz")
    assert answer.status_code == 200  # the loop turns; restarting it would mend nothing
    forge = answer.json()["dependencies"][1]
    assert forge == {
        "dependency": "forge",
        "up": False,
        "since": "2030-03-17T17:45:40.000Z",
        "error": "no answer",
    }
    assert answer.json()["waiting"] == {"approval": 3}
    assert site.get("/readyz").status_code == 503


def test_a_stuck_loop_is_not_alive(site: Site) -> None:
    site.health = replace(WELL, beat_at=NOW - 61, started_at=NOW - 1000)
    assert site.get("/healthz").status_code == 503
    assert site.get("/readyz").status_code == 503


def test_a_follower_is_alive_and_not_ready(site: Site) -> None:
    site.health = replace(WELL, leader=False, holder="other:1")
    assert site.get("/healthz").status_code == 200
    assert site.get("/readyz").status_code == 503
    assert site.get("/readyz").json()["holder"] == "other:1"


def test_ready_when_leading_with_everything_up(site: Site) -> None:
    assert site.get("/readyz").status_code == 200


def test_metrics_have_closed_labels_and_the_right_numbers(site: Site) -> None:
    site.metrics.run_ended(Verdict.SUCCEEDED, seconds=2.0)
    site.metrics.run_ended(Verdict.REFUSED)
    site.metrics.pushed(results=5)
    site.metrics.tick(0.01)
    body = json.dumps(PUSH).encode()
    site.post(body, X_Forgejo_Signature=sign(body))
    site.post(body)
    text = site.get("/metrics").text
    for line in (
        'disinto_runs_ended_total{verdict="succeeded"} 1.0',
        'disinto_runs_ended_total{verdict="refused"} 1.0',
        'disinto_runs_ended_total{verdict="lost"} 0.0',
        "disinto_run_seconds_count 1.0",
        "disinto_results_pushed_total 5.0",
        "disinto_result_commits_total 1.0",
        'disinto_webhooks_total{outcome="look"} 1.0',
        'disinto_webhooks_total{outcome="forged"} 1.0',
        "disinto_runs_in_flight 2.0",
        'disinto_actions_waiting{reason="approval"} 3.0',
        'disinto_dependency_up{dependency="remote"} 1.0',
        "disinto_forge_calls 7.0",
        "disinto_leader 1.0",
    ):
        assert line in text.splitlines()


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/", 404),
        ("GET", "/hooks/push", 405),
        ("PUT", "/hooks/push", 405),
        ("POST", "/healthz", 405),
        ("GET", "/metrics/../healthz/", 404),
        ("HEAD", "/healthz", 200),
    ],
)
def test_pages_that_are_not_there(site: Site, method: str, path: str, status: int) -> None:
    assert httpx.request(method, site.url + path, timeout=10).status_code == status


def test_the_listener_stops_and_frees_its_port() -> None:
    site = Site()
    with serve(site, None) as listener:
        port = listener.port
        with httpx.Client(base_url=site.url) as kept_open:
            assert kept_open.get("/healthz").status_code == 200
            listener.__exit__(None, None, None)
    assert not [t for t in threading.enumerate() if t.name == "web"]
    again = Site()
    with Listener(
        App(health=lambda: WELL, metrics=again.metrics, wake=lambda: None, hook=None),
        listen=f"127.0.0.1:{port}",
    ):
        assert httpx.get(f"http://127.0.0.1:{port}/", timeout=10).status_code == 404


@pytest.mark.parametrize("listen", ["", "8480", "localhost:x", "256.0.0.1:80", "127.0.0.1:99999"])
def test_a_bad_address_is_a_mistake_of_the_settings(listen: str) -> None:
    with pytest.raises(Misconfigured):
        Listener(
            App(health=lambda: WELL, metrics=Metrics(), wake=lambda: None, hook=None),
            listen=listen,
        )


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
