"""Approvals are counted by person, and no action has enough with fewer than each rule asks for."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.gate.tally import Tally, Vote, count, in_words
from dispatcher.model.approval_need import PLAIN, Need, People, Rule, Team

TWO = Need(rules=(Rule(approvals=2, source="[approval.high]"),))
ADA = People(named=(("ada", ("ada@x", "ada-admin", "gpg:AB")),))


def votes(*names: str) -> list[Vote]:
    return [Vote(name=name, key=f"key of {name}") for name in names]


def test_different_people_count() -> None:
    assert count(TWO, votes("ada@x", "bob@x")).approved_by == ("ada@x", "bob@x")
    assert count(TWO, votes("ada@x")).approved_by == ()
    assert count(PLAIN, votes("ada@x")).approved_by == ("ada@x",)
    assert count(PLAIN, []).lacks[0].required == 1


@pytest.mark.parametrize(
    ("need", "given_votes"),
    [
        (TWO, votes("ada@x", "ada@x")),
        (TWO, votes("ada@x", "ADA@X")),
        (TWO, [Vote(name="ada@x", key="1"), Vote(name="other@x", key="1")]),
        (Need(rules=TWO.rules, people=ADA), votes("ada@x", "gpg:AB", "Ada-Admin", "ada")),
        (
            Need(rules=TWO.rules, people=ADA),
            [Vote(name="a", key="1"), Vote(name="ada@x", key="2"), Vote(name="gpg:ab", key="1")],
        ),
    ],
)
def test_one_person_is_one(need: Need, given_votes: list[Vote]) -> None:
    tally = count(need, given_votes)
    assert tally.approved_by == ()
    assert len(tally.lacks[0].names) == 1


def test_only_members_count_where_a_team_is_named() -> None:
    local = Rule(approvals=1, teams=(Team(name="release", members=("ada", "Bob")),))
    need = Need(rules=(local,), people=ADA)
    assert count(need, votes("gpg:AB")).approved_by == ("gpg:AB",)
    assert count(need, votes("bob")).approved_by == ("bob",)
    assert count(need, votes("carol")).approved_by == ()
    forge = Need(rules=(Rule(teams=(Team(name="o/t"),)),))
    member = Vote(name="carol", listed=False, teams=frozenset({"o/t"}))
    assert count(forge, [member]).approved_by == ("carol",)
    assert count(forge, [Vote(name="carol", teams=frozenset({"o/other"}))]).lacks
    assert count(Need(), [member]).lacks, "a member of a team that nobody asked for"


def test_every_rule_has_to_be_satisfied() -> None:
    sre, db = Team(name="sre", members=("a", "b", "both")), Team(name="db", members=("c", "both"))
    need = Need(rules=(Rule(approvals=2, teams=(sre,)), Rule(teams=(db,))))
    assert count(need, votes("a", "b")).approved_by == ()
    assert count(need, votes("a", "c")).approved_by == ()
    assert count(need, votes("a", "b", "c")).approved_by == ("a", "b", "c")
    assert count(need, votes("a", "both")).approved_by == ("a", "both")


def test_an_author_does_not_count_where_authors_may_not_sign() -> None:
    rule = Rule(approvals=1, author_may_sign=False)
    need = Need(rules=(rule,))
    author = Vote(name="ada", author=True)
    assert count(need, [author]).lacks
    assert count(need, [author, Vote(name="bob")]).approved_by == ("bob",)
    assert count(need, [author, Vote(name="Ada")]).lacks, "the same person by another approval"
    assert count(need, votes("bob"), author_unknown=True).lacks, "who wrote it may be bob"
    assert count(need, votes("bob", "eve"), author_unknown=True).approved_by == ("bob", "eve")
    assert count(TWO, votes("bob", "eve"), author_unknown=True).approved_by == ("bob", "eve")


def words(need: Need, given_votes: list[Vote], *possible: str, unknown: str = "") -> str:
    tally = count(need, given_votes, author_unknown=bool(unknown))
    return in_words(tally, need.people, lambda _rule: possible, unknown=unknown)


def test_what_is_missing_names_who_could_still_approve() -> None:
    assert words(TWO, votes("ada@x"), "ada@x", "bob", "carol") == (
        "1 of 2 approvals ([approval.high]), by ada@x; needs 1 more, from bob or carol"
    )
    assert words(TWO, [], *"abcdefgh").endswith("needs 2 more, from a, b, c, d, e or 3 others")
    assert words(TWO, [], "ada").endswith("needs 2 more, but only ada could still approve")
    assert words(TWO, votes("a"), "a").endswith("needs 1 more, but nobody else may approve")
    need = Need(rules=(Rule(author_may_sign=False),), people=ADA)
    assert words(need, votes("ada@x"), "gpg:AB", "bob", unknown="nobody signed it") == (
        "1 of 2 approvals, by ada@x, because nobody signed it; needs 1 more, from bob"
    )
    tally = Tally(approved_by=(), lacks=count(TWO, []).lacks)
    assert in_words(tally, People(), lambda _: "an administrator").endswith("from an administrator")


names = st.sampled_from(["a", "A", "b", "c", "gpg:1", "d"])
teams = st.sampled_from([(), (Team(name="t", members=("a", "x")),), (Team(name="o/t"),)])
needs = st.builds(
    Need,
    rules=st.lists(
        st.builds(Rule, approvals=st.integers(1, 3), teams=teams, author_may_sign=st.booleans()),
        min_size=1,
        max_size=2,
    ).map(tuple),
    people=st.sampled_from([People(), People(named=(("x", ("b", "gpg:1")),))]),
)
many = st.lists(
    st.builds(
        Vote,
        name=names,
        key=st.sampled_from(["", "1", "2", "3"]),
        author=st.booleans(),
        listed=st.booleans(),
        teams=st.sampled_from([frozenset(), frozenset({"o/t"})]),
    ),
    max_size=6,
)


@given(needs, many, st.booleans())
def test_no_fewer_different_people_than_every_rule_asks_for(
    need: Need, given_votes: list[Vote], unknown: bool
) -> None:
    tally = count(need, given_votes, author_unknown=unknown)
    assert bool(tally.approved_by) is not bool(tally.lacks)
    if tally.lacks:
        return
    approving = [vote for vote in given_votes if vote.name in tally.approved_by]
    for rule in need.rules:
        counting = {
            need.people.person(vote.name)
            for vote in given_votes
            if vote.may_count_for(rule, need.people) and (rule.author_may_sign or not vote.author)
        }
        assert len(counting) >= rule.approvals + (unknown and not rule.author_may_sign)
    persons = [need.people.person(name) for name in tally.approved_by]
    assert len(persons) == len(set(persons)) >= need.approvals
    assert approving


@given(needs, many, many)
def test_further_approvals_of_others_never_take_one_away(
    need: Need, some: list[Vote], more: list[Vote]
) -> None:
    """Unless they show that two were one person, or an author's."""
    before = {need.people.person(v.name) for v in some}
    keys = {v.key for v in some} - {""}
    others = [v for v in more if need.people.person(v.name) not in before and v.key not in keys]
    if count(need, some).approved_by:
        assert count(need, [*some, *others]).approved_by
