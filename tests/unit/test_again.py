"""The file of a repetition: the same text, with another id and a link."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.errors import InvalidInput
from dispatcher.model.action import Action, InvalidAction, parse_action
from dispatcher.model.names import is_id
from dispatcher.operate.again import Draft, repeated
from dispatcher.operate.repetitions import numbered, root_of

PLAIN = """# why
id = "deploy"   # the file's name
formula = "hello"
context = \"\"\"
id = "deploy"
again_of = "x"
\"\"\"
secrets = []

[params]
id = "deploy"
"""


def parsed(text: str, stem: str = "deploy") -> Action:
    action = parse_action(text.encode(), path=f"{stem}.toml", stem=stem)
    assert isinstance(action, Action), action
    return action


def again(text: str, new_id: str = "deploy-2", stem: str = "deploy") -> str:
    return repeated(text.encode(), parsed(text, stem), new_id=new_id).decode()


def test_only_the_id_and_the_link_change() -> None:
    assert again(PLAIN) == PLAIN.replace(
        'id = "deploy"   #', 'again_of = "deploy"\nid = "deploy-2"   #', 1
    )


def test_a_link_that_is_there_is_replaced_wherever_it_stands() -> None:
    first = again(PLAIN)
    second = again(first, "deploy-3", "deploy-2")
    assert second == first.replace('"deploy-2"', '"deploy-3"').replace(
        'again_of = "deploy"', 'again_of = "deploy-2"'
    )
    after = PLAIN.replace("secrets = []", "secrets = []\nagain_of = 'other'")
    assert 'again_of = "deploy"\n\n[params]' in again(after)
    assert again(after).count("again_of") == 2


@pytest.mark.parametrize(
    "written",
    [
        "id = 'deploy'",
        "id='deploy'",
        '"id" = "deploy"',
        'id = """deploy"""',
        "id = '''\ndeploy'''",
        'id = "d\\u0065ploy"',
        '\tid\t=\t"deploy"\t',
    ],
)
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_every_way_to_write_an_id_is_found(written: str, newline: str) -> None:
    text = PLAIN.replace('id = "deploy"   #', f"{written}   #", 1).replace("\n", newline)
    made = parsed(again(text), "deploy-2")
    assert made == replace(parsed(text), id="deploy-2", again_of="deploy")


@given(
    st.lists(
        st.sampled_from(
            ["# ä\u2028id = 'x'", 'lock = "id"', "timeout_minutes = 5", "", "# again_of = 'deploy'"]
        ),
        unique=True,
    ),
    st.booleans(),
    st.integers(0, 9),
)
def test_nothing_else_changes_in_any_text(lines: list[str], link: bool, place: int) -> None:
    keys = ["id = 'deploy'", 'formula = "hello"', 'context = "ü"', "secrets = []"]
    if link:
        keys.append("again_of = 'before'")
    rows = [*keys, *lines]
    rows = rows[place % len(rows) :] + rows[: place % len(rows)]
    text = "\n".join(rows) + "\n"
    made = again(text)
    assert parsed(made, "deploy-2") == replace(parsed(text), id="deploy-2", again_of="deploy")
    changed = [row for row in made.split("\n") if row not in text.split("\n")]
    assert sorted(changed) == ['again_of = "deploy"', 'id = "deploy-2"']


@pytest.mark.parametrize(
    ("action_id", "predecessor", "root"),
    [
        ("deploy", None, ("deploy", 1)),
        ("deploy-2", "deploy", ("deploy", 2)),
        ("deploy-3", "deploy-2", ("deploy", 3)),
        ("deploy-3", "deploy", ("deploy", 3)),  # deploy-2 was something else
        ("release-2", None, ("release-2", 1)),
        ("release-2-2", "release-2", ("release-2", 2)),
        ("release-2", "other", ("release-2", 1)),
        ("a-0", "a", ("a-0", 1)),
    ],
)
def test_a_chain_counts_on(action_id: str, predecessor: str | None, root: tuple[str, int]) -> None:
    assert root_of(action_id, predecessor) == root


@given(st.from_regex(r"[a-z0-9][a-z0-9_-]{0,99}", fullmatch=True), st.integers(2, 9_999))
def test_a_new_id_is_always_an_id(action_id: str, number: int) -> None:
    assert is_id(numbered(action_id, number))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('id = "deploy"\n', 'Write id = "deploy-2"'),
        ('id = "deploy-2"\n', 'Write again_of = "deploy"'),
        ('id = "deploy-2"\nagain_of = "other"\n', 'Write again_of = "deploy"'),
        ('id = "deploy-2"\nagain_of = "deploy-2"\n', "cannot repeat itself"),
        ("id = [\n", "not TOML"),
    ],
)
def test_what_a_person_made_of_it_must_be_that_repetition(text: str, words: str) -> None:
    new = Draft(of="deploy", id="deploy-2", text=b"")
    rest = 'formula = "hello"\ncontext = ""\nsecrets = []\n'
    with pytest.raises(InvalidInput, match=r"deploy-2\.toml:") as error:
        new.checked((text + rest).encode())
    assert words in str(error.value)
    good = f'id = "deploy-2"\nagain_of = "deploy"\n{rest}'.encode()
    assert new.checked(good) == good


@pytest.mark.parametrize("value", ['"Deploy"', '""', "1", '["deploy"]'])
def test_a_wrong_link_is_an_error(value: str) -> None:
    text = PLAIN.replace("secrets = []", f"secrets = []\nagain_of = {value}")
    action = parse_action(text.encode(), path="deploy.toml", stem="deploy")
    assert isinstance(action, InvalidAction)
    assert "deploy.toml:9" in str(action.problems[0])


def test_what_the_dispatcher_wrote_for_a_source_is_repeated_by_a_person() -> None:
    signature = f"{'a' * 64}:{'A' * 86}=="
    table = f'[source]\nkind = "schedule"\nname = "n"\noccasion = "o"\nsignature = "{signature}"\n'
    made = again(f"{PLAIN}\n{table}")
    assert made == again(PLAIN)


def test_an_id_of_any_length_is_written_whole() -> None:
    longest = "a" * 100
    text, new_id = PLAIN.replace('"deploy"   #', f'"{longest}"   #'), numbered(longest, 2)
    made = parsed(again(text, new_id, longest), new_id)
    assert (made.id, made.again_of) == (new_id, longest)
    assert made.context == parsed(text, longest).context
    with pytest.raises(InvalidInput, match=f'Write again_of = "{longest}"'):
        Draft(of=longest, id="deploy", text=b"").checked(PLAIN.encode())
