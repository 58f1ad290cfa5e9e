"""Which actions the dispatcher wrote itself, and through what they are approved."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.attestation import PublicKeys, WrittenVerifier, key_id, sign_action
from dispatcher.gate.base import Answer, Decision, Question
from dispatcher.gate.sourced import SourcedGate
from dispatcher.model.action import Action, parse_action
from dispatcher.model.approval_need import PLAIN
from dispatcher.model.run import Tier
from dispatcher.sources import action_text, problems_of
from tests.fakes.source import DEFINITION, wish

KEY = Ed25519PrivateKey.generate()
HERE = "acme/ops@main"
OLD, NEW = "a" * 40, "b" * 40


class Signer:
    def sign(self, data: bytes) -> tuple[str, bytes]:
        return key_id(KEY.public_key()), KEY.sign(data)


def signed(
    action_id: str = "one-1", *, place: str = HERE, blob: str = OLD, kind: str = "wish"
) -> bytes:
    return sign_action(
        Signer(), action_text(kind, wish(action_id, blob=blob)), place=place
    ).encode()


@pytest.fixture
def verifier() -> WrittenVerifier:
    return WrittenVerifier(PublicKeys(lambda: [KEY.public_key()]), place=HERE)


def test_a_written_action_is_an_action_like_any_other() -> None:
    action = parse_action(signed(), path="p", stem="one-1")
    assert isinstance(action, Action)
    assert action.source is not None
    assert (action.source.kind, action.source.name, action.source.occasion) == (
        "wish",
        "one",
        "one-1",
    )
    assert (action.source.definition, action.source.blob) == (DEFINITION, OLD)


def test_ours_is_what_we_signed_for_this_id_and_place(verifier: WrittenVerifier) -> None:
    assert verifier.wrote(signed(), action_id="one-1")
    assert not verifier.wrote(signed(), action_id="one-2")
    assert not verifier.wrote(signed(place="acme/other@main"), action_id="one-1")


@pytest.mark.parametrize(
    "change",
    [
        lambda data: data.replace(b"one-1", b"one-2"),
        lambda data: data.replace(b'"hello"', b'"danger"'),
        lambda data: data.replace(OLD.encode(), NEW.encode()),
        lambda data: data.replace(b'"c"', b'"d"'),
        lambda data: data + b"\n",
        lambda data: data + b'[params]\nx = "y"\n',
        lambda data: b"\n" + data,
        lambda data: data.replace(b'signature = "', b"signature = '", 1),
        lambda data: data[: data.rindex(b"signature")],
        lambda data: data + data[data.rindex(b"signature") :],
        lambda _data: b"",
        lambda _data: b"\xff" * 300,
    ],
)
def test_not_a_byte_can_be_changed(
    verifier: WrittenVerifier, change: Callable[[bytes], bytes]
) -> None:
    assert verifier.wrote(signed(), action_id="one-1")
    changed = change(signed())
    assert not verifier.wrote(changed, action_id="one-1")
    assert not verifier.wrote(changed, action_id="one-2")


@given(st.integers(min_value=0), st.integers(min_value=1, max_value=255))
def test_no_byte_anywhere(at: int, flip: int) -> None:
    data = bytearray(signed())
    data[at % len(data)] ^= flip
    verifier = WrittenVerifier(PublicKeys(lambda: [KEY.public_key()]), place=HERE)
    assert not verifier.wrote(bytes(data), action_id="one-1")


def test_no_other_text_stands_for_the_signature(verifier: WrittenVerifier) -> None:
    data = signed()
    at = data.index(b'=="') - 1  # base64 has four bits to spare there
    for character in (data[at] ^ 1, data[at] + 1, data[at] - 1):
        other = data[:at] + bytes([character]) + data[at + 1 :]
        assert other == data or not verifier.wrote(other, action_id="one-1")


def test_another_key_is_not_ours() -> None:
    other = Ed25519PrivateKey.generate().public_key()
    assert not WrittenVerifier(PublicKeys(lambda: [other]), place=HERE).wrote(
        signed(), action_id="one-1"
    )
    assert not WrittenVerifier(PublicKeys(list), place=HERE).wrote(signed(), action_id="one-1")


def test_what_a_source_wants_is_checked_before_it_is_written() -> None:
    assert problems_of("wish", wish("one-1", blob=OLD)) == ()
    for wrong in (
        wish("One"),
        wish("one-1", formula="../x"),
        wish("one-1", surprise=1),
        wish("one-1", source={"kind": "x"}),
        wish("one-1", id="other"),
        replace(wish("one-1"), name="No name"),
        replace(wish("one-1"), occasion="x" * 201),
    ):
        assert problems_of("wish", wrong), wrong
    assert problems_of("wish", wish("one-1", context="x" * 70_000), limit=65_536)


# -- the gate ---------------------------------------------------------------------------------


@dataclass
class Inner:
    """Approves these blobs, and keeps what it was asked."""

    approved: set[str]
    asked: list[Question] = field(default_factory=list)

    def check(self, question: Question) -> Decision:
        self.asked.append(question)
        if question.blob in self.approved:
            return Decision(
                answer=Answer.APPROVED, reason="signed", gate="signed", approved_by=("boss",),
                landed_at=5.0, request=7, landed="l",
            )  # fmt: skip
        return Decision(answer=Answer.WAITING, reason="is not signed", gate="signed")

    def invalidate(self, *, keep_approvals: bool = False) -> None: ...


@dataclass
class Files:
    """The definition's blob at the head, and the bytes of the action."""

    definition: str | None
    data: bytes

    def blob_at(self, commit: str, path: str) -> str | None:
        return self.definition if path == DEFINITION else None

    def read(self, blobs: Iterable[str], *, limit: int) -> Mapping[str, bytes | int]:
        return dict.fromkeys(blobs, self.data)


@dataclass
class Entries:
    """An inventory with one entry."""

    entry: tuple[str, bytes] | None = None

    def genuine(self, commit: str, path: str) -> tuple[str, bytes] | None:
        return self.entry


def question(data: bytes, action_id: str = "one-1") -> Question:
    action = parse_action(data, path="p", stem=action_id)
    return Question(
        action_id=action_id,
        path=f"vault/actions/{action_id}.toml",
        blob="f" * 40,
        commit="c" * 40,
        tier=Tier.HIGH,
        need=PLAIN,
        formula_need=PLAIN,
        source=action.source if isinstance(action, Action) else None,
    )


def judged(
    data: bytes, *, definition: str | None = OLD, approved: str = OLD
) -> tuple[Decision, Inner]:
    inner = Inner({approved})
    verifier = WrittenVerifier(PublicKeys(lambda: [KEY.public_key()]), place=HERE)
    gate = SourcedGate(
        inner, files=Files(definition, data), written=verifier, entries=Entries(), limit=10**6
    )
    return gate.check(question(data)), inner


def test_it_is_approved_through_what_it_was_written_for() -> None:
    decision, inner = judged(signed())
    assert decision.answer is Answer.APPROVED
    assert decision.approved_by == ("boss",)
    assert [(q.path, q.blob, q.tier) for q in inner.asked] == [(DEFINITION, OLD, Tier.HIGH)]
    assert DEFINITION in decision.reason
    # neither an old approval's age nor its pull request are the action's
    assert (decision.landed_at, decision.landed, decision.request) == (0.0, "", 0)


def test_without_approval_of_the_definition_it_waits() -> None:
    decision, _ = judged(signed(), approved=NEW)
    assert decision.answer is Answer.WAITING


@pytest.mark.parametrize("now", [NEW, None])
def test_a_definition_that_changed_starts_nothing_old(now: str | None) -> None:
    decision, inner = judged(signed(), definition=now, approved=OLD)
    assert decision.answer is Answer.REFUSED
    assert decision.final
    assert inner.asked == []


@pytest.mark.parametrize(
    "forged",
    [
        signed().replace(b'"hello"', b'"danger"'),
        signed(place="acme/other@main"),
        signed("one-2").replace(b'id = "one-2"', b'id = "one-1"'),
    ],
)
def test_what_is_not_ours_is_judged_as_anybodys_file(forged: bytes) -> None:
    decision, inner = judged(forged)
    assert decision.answer is Answer.WAITING
    assert [q.path for q in inner.asked] == ["vault/actions/one-1.toml"]


def test_without_a_definition_the_file_itself_needs_approval() -> None:
    _, inner = judged(signed(blob=""))
    assert [q.path for q in inner.asked] == ["vault/actions/one-1.toml"]


ENTRY = json.dumps({"tier": "high", "approved_by": ["boss"], "result": "web"}).encode()


@pytest.mark.parametrize(
    ("entry", "answer", "final"),
    [
        ((OLD, ENTRY), Answer.APPROVED, False),
        ((NEW, ENTRY), Answer.REFUSED, True),
        (("", b""), Answer.REFUSED, True),
        (None, Answer.REFUSED, False),
    ],
)
@pytest.mark.parametrize("shown", [OLD, NEW, None])
def test_what_expired_is_destroyed_whatever_its_file_shows(
    entry: tuple[str, bytes] | None, answer: Answer, *, final: bool, shown: str | None
) -> None:
    """Only a run replaces or ends an entry: the file in git decides nothing."""
    data = signed(kind="expiry")
    verifier = WrittenVerifier(PublicKeys(lambda: [KEY.public_key()]), place=HERE)
    gate = SourcedGate(
        Inner(set()),
        files=Files(shown, data),
        written=verifier,
        entries=Entries(entry),
        limit=10**6,
    )
    decision = gate.check(question(data))
    assert (decision.answer, decision.final) == (answer, final)
    assert decision.approved_by == (("boss",) if answer is Answer.APPROVED else ())
