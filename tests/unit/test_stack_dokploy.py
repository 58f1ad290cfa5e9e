"""The adapter for Dokploy: what each answer proves, and that errors are plain and without secrets."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from dispatcher.provision.confidential import WITHHELD
from dispatcher.provision.http import Raw
from dispatcher.stack.dokploy import Connection, Dokploy
from dispatcher.stack.platform import PlatformBusy, PlatformRefused, PlatformUnclear
from tests.servers.dokploy import KEY, FakeDokploy
from tests.servers.dokploy_rules import REQUIRED
from tests.support.stacks import ONE, Direct, Stacks

VARIABLE = "DOKPLOY_OPENAPI"
"""File ``openapi.json`` of https://github.com/Dokploy/dokploy, which is not kept here."""


class Answering(Connection):
    """Gives each request one answer."""

    def __init__(self, status: int, body: object, headers: Mapping[str, str] | None = None) -> None:
        text = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.raw = Raw(status, headers or {}, text)

    def request(
        self, method: str, path: str, *, query: Mapping[str, str], body: Mapping[str, Any] | None
    ) -> Raw:
        return self.raw


def test_what_answers_prove() -> None:
    def create(status: int, body: object = None, headers: Mapping[str, str] | None = None) -> None:
        Dokploy(Answering(status, body, headers)).create_project("a", "b")

    with pytest.raises(
        PlatformRefused, match=r"rejected the API key \(401\)(?s:.*)ten requests a day"
    ):
        create(401, {"message": "Unauthorized"})
    with pytest.raises(PlatformRefused, match=r"\(403\)(?s:.*)owner or admin"):
        create(403)
    with pytest.raises(PlatformBusy) as busy:
        create(429, {"message": "slow"}, {"retry-after": "7"})
    assert busy.value.retry_after_s == 7
    with pytest.raises(PlatformUnclear, match="400"):
        create(400, {"message": "Error creating the project: audit failed"})
    with pytest.raises(PlatformRefused, match=r"\(400\).*: name"):
        create(400, {"message": "Input validation failed", "issues": [{"path": ["name"]}]})
    with pytest.raises(PlatformUnclear):
        create(500)
    with pytest.raises(PlatformUnclear):
        create(200, b"<html>")
    with pytest.raises(
        PlatformRefused, match=r"redirected project\.create to https://other.example"
    ):
        create(302, None, {"location": "https://other.example/x?k=secret"})


def test_words_of_the_database_are_not_repeated() -> None:
    said = "Error creating the project: Failed query: insert … params: canary,secret"
    with pytest.raises(PlatformUnclear) as unclear:
        Dokploy(Answering(400, {"message": said})).create_project("a", "b")
    assert "canary" not in str(unclear.value)


ENVIRONMENT = "A=1\nKEY='pa55-w0rd-0f-a11ce'"


@pytest.mark.parametrize("status", [302, 400, 403, 422, 429, 500])
def test_no_error_quotes_an_environment(status: int) -> None:
    headers = {"location": "https://pa55-w0rd-0f-a11ce.example/"}
    said = {"message": f"near {ENVIRONMENT}", "issues": [{"path": ["pa55-w0rd-0f"]}]}
    dokploy = Dokploy(Answering(status, said, headers))
    for call in (lambda: dokploy.save_environment("a", ENVIRONMENT), dokploy.projects):
        with pytest.raises((PlatformRefused, PlatformBusy, PlatformUnclear)) as caught:
            call()
        assert "w0rd" not in str(caught.value)


def test_a_log_that_quotes_an_environment_is_not_shown() -> None:
    answering = Answering(500, {})
    dokploy = Dokploy(answering)
    with pytest.raises(PlatformUnclear):
        dokploy.save_environment("a", ENVIRONMENT)
    answering.raw = Raw(200, {}, json.dumps("Error: no space\npa55-w0\nrd-0f-a11ce").encode())
    assert dokploy.log_tail("a") == (WITHHELD,)
    answering.raw = Raw(200, {}, json.dumps("Error: no\x1b space\n").encode())
    assert dokploy.log_tail("a") == ("Error: no  space",)


@pytest.mark.parametrize(
    "wrong", [{"applicationId": "b"}, {"appName": "x; reboot"}, {"appName": ""}]
)
def test_another_application_than_the_one_asked_for_is_none(wrong: dict[str, str]) -> None:
    described = {"applicationId": "a", "name": "a", "appName": "a-1", **wrong}
    with pytest.raises(PlatformUnclear):
        Dokploy(Answering(200, described)).application("a")


def test_names_of_projects_can_be_shown() -> None:
    project = {"projectId": "p", "name": "a\ud800\x1b[2J", "createdAt": "\x07"}
    (shown,) = Dokploy(Answering(200, [project])).projects()
    assert shown.name.isprintable()
    assert shown.created_at == ""


@pytest.mark.parametrize("answer", [{}, [1], [{"projectId": 1}], "x"])
def test_answers_that_are_unlike_the_description_prove_nothing(answer: object) -> None:
    with pytest.raises(PlatformUnclear):
        Dokploy(Answering(200, answer)).projects()


def test_what_a_key_may_not_see_is_unknown() -> None:
    dokploy = Dokploy(Answering(403, {"message": "no"}))
    assert dokploy.tasks("a") is None
    assert dokploy.queue() is None
    assert dokploy.container_of("a", "b") is None


def test_a_spent_quota_is_told_from_no_answer() -> None:
    dokploy = Dokploy(Direct(FakeDokploy(now=lambda: 0.0, quota=1), KEY, step=lambda: None))
    assert dokploy.projects() == []
    with pytest.raises(PlatformRefused, match="its ten requests a day"):
        dokploy.projects()


def test_deployments_of_what_is_gone_are_none_and_not_an_error() -> None:
    dokploy = Dokploy(Direct(FakeDokploy(now=lambda: 0.0), KEY, step=lambda: None))
    assert dokploy.deployments("gone") == []
    assert dokploy.application("gone") is None
    assert not dokploy.delete_application("gone")


class Recording(Direct):
    """Keeps what is sent."""

    sent: list[tuple[str, str, Mapping[str, Any]]]

    def request(
        self, method: str, path: str, *, query: Mapping[str, str], body: Mapping[str, Any] | None
    ) -> Raw:
        self.sent.append((method.lower(), path, query if body is None else body))
        return super().request(method, path, query=query, body=body)


def test_requests_are_as_the_description_has_them() -> None:
    stacks = Stacks()
    connection = Recording(stacks.server, KEY, step=lambda: None)
    connection.sent = []
    send_all(Dokploy(connection))
    assert {path.strip("/") for _, path, _ in connection.sent} >= set(REQUIRED)
    place = os.environ.get(VARIABLE)
    if not place:
        pytest.skip(f"{VARIABLE} does not name the description: NOT COMPARED")
    paths = json.loads(Path(place).read_text("utf-8"))["paths"]
    for method, path, sent in connection.sent:
        described = paths[path][method]
        if method == "post":
            schema = described["requestBody"]["content"]["application/json"]["schema"]
            problems = list(Draft202012Validator(schema).iter_errors(dict(sent)))
            assert not problems, (path, problems)
            assert set(REQUIRED.get(path.strip("/"), ())) <= set(schema["required"]) | {"port"}
        else:
            known = {each["name"] for each in described.get("parameters", [])}
            assert set(sent) <= known, path


def send_all(dokploy: Dokploy) -> None:
    dokploy.create_project("alice", "mark")
    (project,) = dokploy.projects()
    dokploy.create_application(project, "alice", "mark")
    application_id = dokploy.projects()[0].application_ids[0]
    dokploy.save_image(application_id, ONE)
    dokploy.save_environment(application_id, "A=1")
    dokploy.create_mount(application_id, "workspace-alice", "/workspace")
    dokploy.create_domain(
        application_id, "alice.example", port=8080, https=True, certificate="letsencrypt"
    )
    dokploy.deploy(application_id, "key")
    application = dokploy.application(application_id)
    assert application is not None
    dokploy.queue()
    dokploy.deployments(application_id)
    dokploy.log_tail("none")
    dokploy.tasks(application.app_name)
    dokploy.container_of(application.app_name, "none")
    dokploy.clean_queue(application_id)
    dokploy.remove_domain(application.domains[0].id)
    dokploy.remove_mount(application.mounts[0].id)
    dokploy.delete_application(application_id)
    dokploy.remove_project(project.id)
