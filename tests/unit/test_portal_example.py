"""The page as a stack: actions and image fit each other, the formulas and the settings."""

from __future__ import annotations

import json
import re

import jsonschema
import pytest
import tomli

from dispatcher.host import resources
from dispatcher.model.action import Action, parse_action
from dispatcher.page import probe
from dispatcher.settings import load_settings
from dispatcher.stack.environment import RUN
from dispatcher.stack.params import StackParams, StackSettings, host_of
from tests.servers.answering import serve

ACTIONS = ("stack-runs", "update-stack-runs")
DOCKERFILE = resources.text("actions/stack/portal/Dockerfile")


def action(name: str) -> Action:
    text = resources.text(f"actions/stack/portal/{name}.toml")
    parsed = parse_action(text.encode(), path=f"{name}.toml", stem=name)
    assert isinstance(parsed, Action)
    return parsed


def environment() -> dict[str, str]:
    """Of the container: what the image sets, and the action."""
    (block,) = re.findall(r"^ENV ((?:.*\\\n)*.*)$", DOCKERFILE, re.MULTILINE)
    values = dict(each.split("=", 1) for each in block.replace("\\\n", " ").split())
    params = tomli.loads(resources.text("actions/stack/portal/stack-runs.toml"))["params"]
    return {**values, **params["environment"], RUN: f"stack-runs.{'0' * 40}"}


@pytest.mark.parametrize("name", ACTIONS)
def test_the_formula_takes_the_params(name: str) -> None:
    found = action(name)
    text = resources.text(f"actions/stack/formulas/{found.formula}.schema.json")
    jsonschema.Draft202012Validator(json.loads(text)).validate(
        tomli.loads(resources.text(f"actions/stack/portal/{name}.toml"))["params"]
    )


def test_the_settings_are_whole_and_listen_where_the_stack_is_routed_to() -> None:
    values = environment()
    settings = load_settings(None, values)
    given = tomli.loads(resources.text("actions/stack/portal/stack-runs.toml"))["params"]
    params = StackParams.model_validate_json(json.dumps(given))
    web = settings.web
    assert web.host_and_port == ("0.0.0.0", params.port)
    assert f"EXPOSE {params.port}" in DOCKERFILE
    host = host_of(params, StackSettings(STACK_DOMAIN_SUFFIX="stacks.example"))
    assert web.origin == f"https://{host}"
    named = {web.client_secret_env, settings.ops_repo.token_env}
    assert named == set(params.environment_secrets)
    assert named <= set(action("stack-runs").secrets)


@pytest.mark.parametrize(
    ("status", "code"), [(200, 0), (401, 0), (404, 0), (421, 1), (500, 1), (503, 1)]
)
def test_the_probe_requests_the_page_by_its_own_name(status: int, code: int) -> None:
    values = environment()
    with serve(status) as server:
        port = server.addr.rpartition(":")[2]
        assert probe.main({**values, "DISINTO_WEB__LISTEN": f"0.0.0.0:{port}"}) == code
        assert [each["Host"] for each in server.headers] == ["runs.stacks.example"]
        assert server.requests == [("GET", "/health")]


def test_the_probe_ends_before_the_health_check_ends_it() -> None:
    (timeout_s,) = re.findall(r"^HEALTHCHECK .*--timeout=(\d+)s", DOCKERFILE, re.MULTILINE)
    assert 20 <= probe.TIMEOUT_S < int(timeout_s)


def test_the_probe_says_why(capsys: pytest.CaptureFixture[str]) -> None:
    assert probe.main({**environment(), "DISINTO_WEB__LISTEN": "127.0.0.1:1"}) == 1
    assert "does not answer" in capsys.readouterr().err
    assert probe.main({**environment(), "DISINTO_WEB__LISTEN": "nowhere"}) == 1
    assert "not host:port" in capsys.readouterr().err
