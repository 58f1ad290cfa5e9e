"""What a text of a notification never holds; templates; what each sink escapes."""

from __future__ import annotations

import base64
import json
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.decide.steps import Wait
from dispatcher.decide.world import Candidate
from dispatcher.errors import Misconfigured
from dispatcher.model.health import WaitingFor
from dispatcher.model.run import RunKey
from dispatcher.notify.base import MessageRefused
from dispatcher.notify.chat import plain_text, slack_text
from dispatcher.notify.mail import mail
from dispatcher.notify.secrets import known_secrets
from dispatcher.notify.sinks import open_sink
from dispatcher.notify.template import NAMES, Body
from dispatcher.notify.text import DETAIL_LIMIT, LINE_LIMIT, OUTPUT_LIMIT, Cleaner
from dispatcher.notify.webhook import key_of
from dispatcher.settings import BodyKind, Settings
from tests.support.notices import NOTICES, notice, sink

CANARY = "canary-0123456789"
CLEANER = Cleaner(lambda: {"VAULT_TOKEN": CANARY})
MAIL: dict[str, object] = {
    "kind": "smtp",
    "host": "localhost",
    "sender": "disinto@example.org",
    "recipients": ["ops@example.org"],
}


@pytest.mark.parametrize(
    "text",
    [
        f"token {CANARY}",
        f"token {CANARY[:6]}\u200b{CANARY[6:]}",
        f"token {CANARY[:6]}\u202e{CANARY[6:]}",
        base64.b64encode(CANARY.encode()).decode(),
        CANARY.encode().hex(),
        "x" * (LINE_LIMIT - 6) + CANARY,
    ],
)
def test_no_secret_that_is_known_here_is_left(text: str) -> None:
    for cleaned in (CLEANER.line(text), CLEANER.block(text), CLEANER.end(text)):
        assert CANARY[:8] not in cleaned
        assert CANARY not in cleaned.replace("\u200b", "")


@given(st.text())
def test_no_control_character_is_left_and_the_length_is_limited(text: str) -> None:
    line, block, end = CLEANER.line(text), CLEANER.block(text * 50), CLEANER.end(text * 50)
    assert len(line) <= LINE_LIMIT
    assert len(block) <= DETAIL_LIMIT
    assert len(end) <= OUTPUT_LIMIT
    assert "\n" not in line
    for character in line + block + end:
        assert character in "\n\t" or unicodedata.category(character) not in ("Cc", "Cf", "Cs")


@given(st.text())
def test_a_value_in_a_template_stays_one_string(text: str) -> None:
    body = json.loads(Body("ops", file=None, kind=BodyKind.JSON).make(notice(title=text)))
    assert body["title"] == text
    assert body["exit_code"] == 3
    assert body["at"] == "2026-03-01T12:00:00.000Z"
    assert set(body) == set(NAMES)


def template(folder: Path, text: str, kind: BodyKind = BodyKind.JSON) -> Body:
    file = folder / "body.j2"
    file.write_text(text)
    return Body("ops", file=file, kind=kind)


def test_an_operators_template_is_filled_in(tmp_path: Path) -> None:
    body = template(tmp_path, '{"text": "{{ title }}: {{ detail }}", "all": {{ title | tojson }}}')
    hostile = 'x", "admin": "yes'
    made = json.loads(body.make(notice(title=hostile)))
    assert made == {"text": f"{hostile}: the formula ended with 3", "all": hostile}
    plain = template(tmp_path, "{{ title }}", BodyKind.TEXT)
    assert plain.make(notice(title=hostile)) == hostile.encode()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{{ titel }}", "'titel' is undefined"),
        ("{% if %}", "TemplateSyntaxError"),
        ("no json", "does not make JSON"),
        ('"{{ "x" * 100000 }}"', "at most 65,536"),
        ("{{ title.__class__.__mro__ }}", "SecurityError"),
        ("{% include '/etc/passwd' %}", "no loader"),
    ],
)
def test_a_template_that_is_of_no_use_is_named_with_its_reason(
    tmp_path: Path, text: str, said: str
) -> None:
    with pytest.raises((Misconfigured, MessageRefused), match="notify") as caught:
        template(tmp_path, text).make(notice())
    assert said in str(caught.value)


def test_a_template_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match="cannot be read"):
        Body("ops", file=tmp_path / "none.j2", kind=BodyKind.JSON)


HOSTILE = "<!channel> @channel `code` <https://evil.example|click> & [x](y) ```\n# title"


def test_slack_gets_foreign_text_as_code_without_links_and_mentions() -> None:
    text = slack_text(notice(title=HOSTILE, detail=HOSTILE))
    assert "<" not in text
    assert ">" not in text
    assert text.count("```") == 2
    first, _, rest = text.partition("\n")
    assert first.count("`") == 4
    assert rest.startswith("```\n")
    assert rest.endswith("\n```")


def test_a_mail_has_no_header_that_its_text_made() -> None:
    hostile = "x\r\nBcc: victim@example.org\r\n\r\n<script>"
    made = mail(notice(title=CLEANER.line(hostile)), sink(**MAIL))
    assert made["Bcc"] is None
    assert made.get_content_type() == "text/plain"
    assert str(made["Message-ID"]) == f"<{notice().id}@example.org>"
    assert "Bcc: victim" in str(made["Subject"])


def test_everything_is_in_the_plain_text() -> None:
    text = plain_text(notice(output="last words"))
    for word in ("acme/ops", "deploy-1", "deploy", "high", "ended with 3", "last words"):
        assert word in text


@pytest.mark.parametrize("secret", ["short", "whsec_!!", "whsec_c2hvcnQ="])
def test_a_secret_that_can_be_guessed_is_refused_and_not_shown(secret: str) -> None:
    with pytest.raises(Misconfigured) as caught:
        key_of("ops", secret)
    assert secret not in str(caught.value)


def test_an_address_that_is_a_secret_is_not_shown_in_part_either(tmp_path: Path) -> None:
    file = tmp_path / "slack.url"
    file.write_text("https://hooks.example/services/T0/B0/canary0123\n")
    settings = Settings(notify=(sink(kind="slack", secret_file=file),))
    cleaner = Cleaner(lambda: known_secrets(settings, {"VAULT_TOKEN": CANARY}))
    told = cleaner.line(f"POST /services/T0/B0/canary0123 with {CANARY}")
    assert "canary" not in told.replace("[redacted:", "")


def test_files_of_one_name_and_what_replaces_them_are_redacted(tmp_path: Path) -> None:
    files = [tmp_path / name / "secret" for name in ("one", "two", "three")]
    for number, file in enumerate(files):
        file.parent.mkdir()
        file.write_text(f"canary-of-{number}-before")
    sinks = tuple(sink(name=f"s{i}", secret_file=file) for i, file in enumerate(files))
    settings = Settings(notify=sinks)
    cleaner = Cleaner(lambda: known_secrets(settings, {}))
    before = " and ".join(file.read_text() for file in files)
    assert "canary" not in cleaner.line(before)
    files[0].write_text("canary-of-another")
    files[1].unlink()
    assert "canary" not in cleaner.line(f"{before}, then canary-of-another")


@pytest.mark.parametrize("secret", ["canary\nX-Header: 1", "canary\x00", "canary-\u00e9"])
def test_a_secret_that_no_header_can_hold_is_refused_and_not_shown(secret: str) -> None:
    settings = sink(kind="matrix", url="http://127.0.0.1:9", room="!a:b", secret_env="T")
    with pytest.raises(Misconfigured) as caught:
        open_sink(settings, {"T": secret}).send(notice())
    assert "canary" not in str(caught.value)


@pytest.mark.parametrize("at", [1e300, -1e300, float("nan"), float("inf"), -1.0, 3e11])
def test_a_time_that_somebody_made_up_can_be_written_down(at: float) -> None:
    candidate = Candidate(key=RunKey(action_id="a", blob="b" * 40), order=1, since=at)
    wait = Wait(action_id="a", waiting_for=WaitingFor.APPROVAL, reason="r")
    made = NOTICES.of_wait(wait, candidate, now=1_772_366_400.0)
    assert made.at == 1_772_366_400.0
    Body("ops", file=None, kind=BodyKind.JSON).make(made)
    mail(made, sink(**MAIL))
