"""Gate ``signed`` never approves with fewer valid approvals than asked for, whatever is pushed.

Commits and signatures are made up at random; what counts is worked out here once more, in another way.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from dispatcher.gate import Answer, Decision, Question
from dispatcher.gate.approval_commits import LIMIT
from dispatcher.gate.signed import SignedGate
from dispatcher.gate.trailer import Place
from dispatcher.model.approval_need import Need, People, Rule
from dispatcher.model.run import Tier
from dispatcher.ops_repo.authorship import Contribution
from dispatcher.ops_repo.lineage import Change, Lineage

PATH, BLOB, OTHER = "vault/actions/x.toml", "1" * 40, "2" * 40
PLACE = Place(repository="acme/ops", branch="main")
BARE, FULL = PLACE.value(PATH), PLACE.value(PATH, blob=BLOB)


@dataclass(frozen=True, kw_only=True)
class Commit:
    """A commit on a straight line of history; the first one last changed the file."""

    status: str = "good"
    principal: str = "ada"
    key_fingerprint: str = ""
    label: str = ""
    approves: tuple[str, ...] = (FULL,)
    blob: str = BLOB
    void: bool = False


@dataclass
class Line:
    """A history of such commits: commit ``n`` is called ``n``."""

    commits: Sequence[Commit]
    addresses: frozenset[str] = frozenset()
    withdrawn_commits: tuple[str, ...] = ()
    read: int = field(default=0)

    def lineage(self, commit: str, path: str) -> Lineage:
        change = Change(sha="0", parents=(), committed_at=0)
        return Lineage(last=change, rivals=(), mainline=change)

    def blob_at(self, commit: str, path: str) -> str:
        return self.commits[int(commit)].blob

    def is_ancestor(self, ancestor: str, commit: str) -> bool:
        return int(ancestor) <= int(commit)

    def mainline(self, commit: str, *, since: str, limit: int) -> Sequence[str]:
        raise NotImplementedError

    def naming(self, text: str, *, since: str, commit: str) -> Sequence[str]:
        span = range(int(since) + 1, int(commit) + 1)
        self.read += len(span)
        signed = [n for n in span if self.commits[n].status != "unsigned"]
        return [str(n) for n in signed if any(text in a for a in self.commits[n].approves)]

    def contributions(self, lineage: Lineage, path: str) -> Sequence[Contribution]:
        return [Contribution(commit="0", addresses=self.addresses)]

    def withdrawn(self, commit: str, path: str) -> Sequence[str]:
        return self.withdrawn_commits

    def forgotten(self, approval: str, *, at: float | None = None) -> str:
        return "forgotten" if self.commits[int(approval)].void else ""

    def arrived_at(self, change: Change) -> float:
        return float(change.committed_at)

    def names_request(self, commit: str) -> int:
        return 0


def gate(line: Line) -> SignedGate:
    return SignedGate(history=line, verify=lambda c: line.commits[int(c)], place=PLACE)


def ask(made: SignedGate, line: Line, need: Need, *, head: int | None = None) -> Decision:
    commit = str(len(line.commits) - 1 if head is None else head)
    return made.check(
        Question(
            action_id="x",
            path=PATH,
            blob=BLOB,
            commit=commit,
            tier=Tier.HIGH,
            need=need,
            formula_need=need,
        )
    )


commits = st.builds(
    Commit,
    status=st.sampled_from(["good", "good", "good", "bad", "unsigned", "expired", "revoked"]),
    principal=st.sampled_from(["ada", "Ada", "bob", "carol", ""]),
    key_fingerprint=st.sampled_from(["", "k1", "k2", "k3"]),
    approves=st.sampled_from(
        [(), (BARE,), (FULL,), (BARE, FULL), (f"acme/ops@main x {OTHER}",), (f"b/c@main x {BLOB}",)]
    ),
    blob=st.sampled_from([BLOB, BLOB, OTHER]),
    void=st.booleans(),
)
lines = st.builds(
    Line,
    commits=st.lists(commits, min_size=1, max_size=7).map(
        lambda made: [Commit(**{**vars(made[0]), "blob": BLOB}), *made[1:], Commit(approves=())]
    ),
    addresses=st.sampled_from([frozenset(), frozenset({"bob"}), frozenset({"x@y"})]),
    withdrawn_commits=st.sampled_from([(), (), ("0",), ("1",)]),
)
needs = st.builds(
    Need,
    rules=st.tuples(st.builds(Rule, approvals=st.integers(1, 3), author_may_sign=st.booleans())),
    people=st.sampled_from([People(), People(named=(("p", ("ada", "carol")),))]),
)


@given(lines, needs)
def test_no_fewer_valid_approvals_by_different_people_than_needed(line: Line, need: Need) -> None:
    decision = ask(gate(line), line, need)
    if decision.answer is not Answer.APPROVED:
        assert decision.approved_by == ()
        return
    (rule,) = need.rules
    first = line.commits[0]
    proven = first.status == "good" and first.principal != ""
    authors = {need.people.person(a) for a in line.addresses}
    if proven:
        authors.add(need.people.person(first.principal))
    valid = {
        need.people.person(commit.principal)
        for number, commit in enumerate(line.commits)
        if commit.status == "good"
        and commit.principal
        and commit.blob == BLOB
        and not commit.void
        and str(number) not in line.withdrawn_commits
        and (FULL in commit.approves or (number == 0 and BARE in commit.approves))
        and (number == 0 or "0" not in line.withdrawn_commits)
    }
    if not rule.author_may_sign:
        valid -= authors
    assert len(valid) >= rule.approvals + (not rule.author_may_sign and not proven)
    assert {need.people.person(name) for name in decision.approved_by} <= valid
    assert len(decision.approved_by) >= rule.approvals


TWO = Need(rules=(Rule(approvals=2),))


def test_a_new_head_costs_what_is_new() -> None:
    line = Line([Commit(), *[Commit(approves=())] * 500, Commit(principal="bob")])
    made = gate(line)
    assert ask(made, line, TWO, head=500).answer is Answer.WAITING
    assert line.read == 500
    assert ask(made, line, TWO).approved_by == ("ada", "bob")
    assert ask(made, line, TWO).approved_by == ("ada", "bob")
    assert line.read == 501


def test_a_flood_of_commits_that_name_the_content_neither_hides_what_was_there_nor_costs_more() -> (
    None
):
    flood = [Commit(status="unknown_key", principal="")] * 1_000
    line = Line([Commit(), Commit(principal="bob"), *flood])
    verified: list[str] = []

    def verify(commit: str) -> Commit:
        verified.append(commit)
        return line.commits[int(commit)]

    made = SignedGate(history=line, verify=verify, place=PLACE)
    assert ask(made, line, TWO).approved_by == ("ada", "bob")
    assert len(verified) <= LIMIT + 1


def test_a_flood_that_leaves_no_room_for_approvals_is_named() -> None:
    flood = [Commit(status="unknown_key", principal="")] * LIMIT
    line = Line([Commit(), *flood, Commit(principal="bob")])
    decision = ask(gate(line), line, TWO)
    assert decision.answer is Answer.WAITING
    assert f"{LIMIT} signed commits or more name this content" in decision.reason


def test_an_authors_key_is_the_authors_whatever_name_it_has_now() -> None:
    need = Need(rules=(Rule(author_may_sign=False),))
    written = Commit(approves=(), key_fingerprint="k1")
    line = Line([written, Commit(principal="zed", key_fingerprint="k1")])
    assert ask(gate(line), line, need).answer is Answer.WAITING
    line = Line([written, Commit(principal="zed", key_fingerprint="k2")])
    assert ask(gate(line), line, need).approved_by == ("zed",)
