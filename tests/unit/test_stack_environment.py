"""What a stack is given survives the server's parser, or is refused; and names are checked."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.provision.params import BadParams, read_params
from dispatcher.stack.environment import encoded
from dispatcher.stack.marks import Mark
from dispatcher.stack.params import (
    StackParams,
    StackSettings,
    UpdateParams,
    environment_of,
    host_of,
    image_of,
)
from dispatcher.stack.platform import TOKEN
from dispatcher.stack.registry import why_unavailable
from tests.servers.dokploy_rules import dotenv

SETTINGS = StackSettings.model_validate(
    {"DOKPLOY_URL": "https://d.example", "STACK_DOMAIN_SUFFIX": "stacks.example"}
)
NAMES = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,10}", fullmatch=True)
HARD = st.text(alphabet="ab \\'\"`#$={}\n\tä", max_size=12) | st.text(max_size=20)


@given(st.dictionaries(NAMES, HARD, max_size=4))
def test_values_survive_or_are_refused(values: dict[str, str]) -> None:
    text, refused = "", ""
    try:
        text = encoded(values)
    except BadParams as error:
        refused = str(error)
    assert not [v for v in values.values() if len(v) > 8 and v in refused]
    assert refused or dotenv(text) == values


@pytest.mark.parametrize(
    "value", ["a b", "it's", '"quoted"', "# no comment", "a\nb", "c:\\new", "", "x=y", " edges "]
)
def test_usual_values_are_not_refused(value: str) -> None:
    assert dotenv(encoded({"A": value, "B": "1"})) == {"A": value, "B": "1"}


@pytest.mark.parametrize("value", ["${{project.KEY}}", "a\x00", "'`\""])
def test_what_the_server_would_change_is_refused(value: str) -> None:
    with pytest.raises(BadParams, match="environment: A "):
        encoded({"A": value})


def test_secrets_are_handed_over_by_name_and_never_the_key() -> None:
    environ = {"OPENAI": "canary", TOKEN: "key", "DISINTO_RUN_KEY": "x"}
    assert dotenv(environment_of({"A": "1"}, ("OPENAI",), environ)) == {
        "A": "1",
        "OPENAI": "canary",
    }
    for name in (TOKEN, "DISINTO_RUN_KEY", "VAULT_TOKEN", "a b"):
        with pytest.raises(BadParams, match="not handed to a stack"):
            environment_of({}, (name,), environ)
    with pytest.raises(BadParams, match=r'secrets = .*"OTHER"'):
        environment_of({}, ("OTHER",), environ)


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("admin", "reserved"), ("deploy", "reserved"), ("ab", "3 to 20"), ("a" * 21, "3 to 20"),
        ("Abc", "3 to 20"), ("a.b.c", "3 to 20"), ("abc-", "3 to 20"), ("xn--abc", "3 to 20"),
    ],
)  # fmt: skip
def test_names(name: str, why: str) -> None:
    with pytest.raises(BadParams, match=why):
        host_of(StackParams(name=name), SETTINGS)
    assert host_of(StackParams(name="alice"), SETTINGS) == "alice.stacks.example"


def test_an_image_has_a_tag_or_a_digest() -> None:
    digest = "ghcr.io/a/b@sha256:" + "0" * 64
    assert image_of(digest, SETTINGS) == digest
    for image in ("", "nginx", "ghcr.io:443/a/b", "a b:1", "-x:1", "http://a/b:1"):
        with pytest.raises(BadParams, match="neither a tag nor a digest"):
            image_of(image, SETTINGS)
    assert why_unavailable("not an image") == "its name cannot be read"


def test_an_update_changes_something() -> None:
    for params in ({"id": "a"}, {"id": "a", "image": "a:1", "environment_secrets": ["X"]}):
        with pytest.raises(BadParams):
            read_params(UpdateParams, {"DISINTO_PARAMS": json.dumps(params)})


def test_a_mark_is_found_in_a_description() -> None:
    mark = Mark.of_run("disinto", f"alice-1.{'0' * 40}")
    assert Mark.read(f"made by {mark}.") == mark
    assert Mark.read("disinto:other") is None
    assert mark.run_key == f"alice-1.{'0' * 40}"
