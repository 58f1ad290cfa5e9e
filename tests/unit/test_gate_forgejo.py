"""Gate ``forgejo`` on a made-up forge: what a real one is hard to bring to say."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from dispatcher.errors import Dependency, Unavailable
from dispatcher.forge import TooLarge
from dispatcher.forge.records import (
    BranchEnd,
    Request,
    RequestCommit,
    Review,
)
from dispatcher.gate import Answer, Decision
from dispatcher.gate.approvers import Approvers
from dispatcher.gate.forgejo import FRESH_S, LOOK_BACK_PAGES
from tests.fakes.forge import (
    BASE,
    BLOB,
    HEAD,
    MERGE,
    OTHER,
    PATH,
    TOPIC,
    FakeForge,
    FakeHistory,
    Scene,
    request,
    review,
    squashed,
)


def test_a_merged_and_approved_request() -> None:
    decision = Scene().ask()
    assert decision == Decision(
        answer=Answer.APPROVED,
        reason="pull request #5 was approved by boss at bbbbbbbbbbbb",
        gate="forgejo",
        approved_by=("boss",),
        commit=TOPIC,
        request=5,
        landed=MERGE,
    )


def refused(scene: Scene, reason: str) -> None:
    decision = scene.ask()
    assert decision.answer is Answer.REFUSED
    assert reason in decision.reason
    assert not decision.final


def test_the_request_must_have_left_the_content_that_is_there() -> None:
    refused(Scene(history=FakeHistory(blobs={(MERGE, PATH): OTHER})), "did not leave")


def test_the_request_must_have_been_reviewed_with_that_content() -> None:
    assert Scene(history=squashed()).ask().answer is Answer.APPROVED
    for blobs in ({(TOPIC, PATH): OTHER}, {}):
        refused(Scene(FakeForge(blobs=blobs), squashed()), "reviewed with other content")
    other = FakeHistory(last=MERGE, blobs={(TOPIC, PATH): OTHER})
    refused(Scene(history=other), "reviewed with other content")


def test_the_request_must_have_changed_the_file() -> None:
    unchanged = {(TOPIC, PATH): BLOB, (BASE, PATH): BLOB}
    refused(Scene(history=FakeHistory(blobs=unchanged)), "did not change")
    elsewhere = FakeHistory(last=MERGE, order=(MERGE, HEAD))
    refused(Scene(FakeForge(blobs=unchanged), elsewhere), "did not change")
    refused(Scene(FakeForge(closed=[[request(merge_base="")]])), "has no place")


def test_what_a_rewritten_branch_took_back_is_not_approved() -> None:
    refused(Scene(history=FakeHistory(taken_back=(MERGE,))), "main was rewritten since commit")
    assert Scene(history=FakeHistory(taken_back=(OTHER,))).ask().answer is Answer.APPROVED


def test_the_merged_head_must_be_known() -> None:
    refused(Scene(FakeForge(head=None)), "does not report which commit")


@pytest.mark.parametrize(
    "other",
    [
        request(merged=False),
        request(merge_commit_sha=None),
        request(merge_commit_sha=OTHER),
        request(base=BranchEnd(ref="side", sha=MERGE)),
    ],
)
def test_a_request_that_did_not_bring_it_is_not_asked(other: Request) -> None:
    for forge in (FakeForge(closed=[[other]]), FakeForge(direct=other, closed=[])):
        refused(Scene(forge), "without a merged pull request")
        assert "reviews" not in forge.calls


def test_the_nearest_merge_after_the_change_is_meant() -> None:
    """A rebase merge leaves several commits; the forge knows the last of them."""
    later = "e" * 40
    history = FakeHistory(
        last=MERGE,
        chain=(MERGE, HEAD, later),
        order=(BASE, TOPIC, MERGE, HEAD, later),
    )
    mine, other = request(5, merge_commit_sha=HEAD), request(6, merge_commit_sha=later)
    scene = Scene(FakeForge(closed=[[other, mine]]), history)
    assert scene.ask(commit=later).request == 5


def test_the_request_that_the_commit_names_is_asked_for_by_its_number() -> None:
    scene = Scene(history=FakeHistory(named=5))
    assert scene.ask().request == 5
    assert sorted(scene.forge.calls) == [
        "permission", "pushes", "request", "request_commits", "reviews",
    ]  # fmt: skip


@pytest.mark.parametrize("named", [6, 999])
def test_a_commit_that_names_another_request_changes_nothing(named: int) -> None:
    """Whoever pushes writes the subject: the approval of request 6 is not that of request 5."""

    class Two(FakeForge):
        def reviews(self, number: int) -> Sequence[Review]:
            super().reviews(number)
            return [review("admin6" if number == 6 else "boss")]

    other = request(6, merge_commit_sha=OTHER)
    for closed, answer in (([other, request()], Answer.APPROVED), ([other], Answer.REFUSED)):
        forge = Two(closed=[closed], permissions={"boss": "admin", "admin6": "admin"})
        decision = Scene(forge, FakeHistory(named=named)).ask()
        assert decision.answer is answer
        assert decision.approved_by == (("boss",) if answer is Answer.APPROVED else ())


def test_old_requests_are_searched_for_a_few_pages_only() -> None:
    others = [request(n, merge_commit_sha=OTHER) for n in range(1, 51)]
    scene = Scene(FakeForge(closed=[others] * 100))
    refused(scene, "without a merged pull request")
    assert scene.forge.calls.count("closed_requests") == LOOK_BACK_PAGES
    assert Scene(FakeForge(closed=[others, [request()]])).ask().answer is Answer.APPROVED


def test_a_merge_that_the_forge_has_not_noted_yet_is_looked_up_again() -> None:
    class Late(FakeForge):
        def closed_requests(self, page: int) -> Sequence[Request]:
            super().closed_requests(page)
            return [request()] if self.calls.count("closed_requests") > 3 else []

    scene = Scene(Late(), FakeHistory(committed_at=1000), wall=lambda: 1001.0)
    assert scene.ask().answer is Answer.APPROVED
    old = Scene(Late(), FakeHistory(committed_at=1000), wall=lambda: 5000.0)
    refused(old, "without a merged pull request")
    assert old.forge.calls.count("closed_requests") == 1


def test_sideways_changes_are_refused_without_a_call() -> None:
    for history in (FakeHistory(rivals=(OTHER,)), FakeHistory(blobs={(TOPIC, PATH): OTHER})):
        scene = Scene(history=history)
        assert scene.ask().answer is Answer.REFUSED
        assert scene.forge.calls == []


def test_a_change_beside_the_merge_that_came_back_to_the_same_content_is_refused() -> None:
    """The first parents lead past the direct pushes that changed the file and changed it back."""
    scene = Scene(history=FakeHistory(last=HEAD))
    refused(scene, "did not come with the merge")
    assert scene.forge.calls == []


def waiting(scene: Scene, reason: str) -> None:
    decision = scene.ask()
    assert decision.answer is Answer.WAITING
    assert reason in decision.reason
    assert decision.request == 5


@pytest.mark.parametrize("permission", ["none", "read", "write", "", "Admin"])
def test_less_than_an_administrator_may_not_approve(permission: str) -> None:
    waiting(Scene(FakeForge(permissions={"boss": permission})), "may not approve actions")


def test_named_approvers_replace_administrators() -> None:
    waiting(Scene(approvers=Approvers(logins=("carol",))), "needs approval from carol, who")
    named = Scene(FakeForge(permissions={}), approvers=Approvers(logins=("BOSS",)))
    assert named.ask().approved_by == ("boss",)
    assert "permission" not in named.forge.calls


def test_members_of_the_team_may_approve() -> None:
    team = Approvers(team="ops/approvers")
    member = Scene(FakeForge(members={"ops/approvers": {"boss"}}), approvers=team)
    assert member.ask().approved_by == ("boss",)
    waiting(Scene(approvers=team), "a member of ops/approvers")


def test_an_approver_without_an_account_does_not_count() -> None:
    waiting(Scene(FakeForge(gone={"boss"})), "no longer has an account")


def test_an_approver_whose_address_wrote_a_commit_does_not_count() -> None:
    waiting(Scene(FakeForge(authors=["Boss@Example.Test"])), "the same e-mail address")


def test_a_request_of_a_deleted_account_waits() -> None:
    waiting(Scene(FakeForge(closed=[[request(user=None)]])), "is gone")


def test_all_who_approved_are_named() -> None:
    forge = FakeForge(
        said=[review("boss", number=2), review("chief", number=1), review("carol", number=3)],
        permissions={"boss": "admin", "chief": "owner", "carol": "write"},
    )
    assert Scene(forge).ask().approved_by == ("chief", "boss")


def test_the_calls_for_one_decision_are_few_and_bounded() -> None:
    scene = Scene()
    scene.ask()
    assert len(scene.forge.calls) == 6
    scene = Scene(history=squashed())
    scene.ask()
    assert len(scene.forge.calls) == 7
    crowd = FakeForge(
        said=[review(f"user{n}", number=n) for n in range(500)],
        permissions={},
        closed=[[request(n, merge_commit_sha=OTHER)] * 50 for n in range(1, 4)] + [[request()]],
    )
    many = Scene(crowd)
    waiting(many, "may not approve actions")
    assert len(crowd.calls) <= 31


def test_files_of_one_request_share_what_was_said_of_it() -> None:
    scene = Scene()
    paths = [f"vault/actions/x{n}.toml" for n in range(100)]
    for path in paths:
        assert scene.ask(path=path).answer is Answer.APPROVED
    assert scene.forge.calls.count("reviews") == 1
    assert scene.forge.calls.count("closed_requests") == 1
    assert len(scene.forge.calls) == 6


def test_many_requests_at_once_do_not_wait_for_each_other() -> None:
    """More at once than there are threads, each in need of threads."""
    scenes = Scene()
    paths = [f"vault/actions/x{n}.toml" for n in range(64)]
    scenes.forge.blobs |= {(TOPIC, path): BLOB for path in paths}

    def ask(path: str) -> Answer:
        scenes.gate.invalidate()
        return scenes.ask(path=path).answer

    with ThreadPoolExecutor(32) as pool:
        assert set(pool.map(ask, paths, timeout=60)) == {Answer.APPROVED}


def test_what_was_said_is_asked_anew_after_a_while() -> None:
    scene = Scene()
    assert scene.ask().answer is Answer.APPROVED
    scene.forge.said = [review().model_copy(update={"dismissed": True})]
    scene.clock.now += FRESH_S
    waiting(scene, "dismissed")


def test_what_was_said_is_asked_anew_when_somebody_rings() -> None:
    scene = Scene(FakeForge(said=[]))
    waiting(scene, "nobody reviewed it")
    scene.forge.said = [review()]
    waiting(scene, "nobody reviewed it")
    scene.gate.invalidate()
    assert scene.ask().answer is Answer.APPROVED


def test_an_answer_that_was_under_way_when_somebody_rang_is_not_kept() -> None:
    class Rung(FakeForge):
        def request_commits(self, number: int) -> Sequence[RequestCommit]:
            scene.gate.invalidate()  # the approval comes in while the old answer is read
            return super().request_commits(number)

    scene = Scene(Rung(said=[review().model_copy(update={"official": False})]))
    waiting(scene, "without the right to")
    scene.forge.said = [review()]
    assert scene.ask().answer is Answer.APPROVED


def test_a_list_without_an_end_waits() -> None:
    decision = Scene(FakeForge(fault=TooLarge("too many pages"))).ask()
    assert (decision.answer, decision.reason) == (Answer.WAITING, "too many pages")


def test_a_fault_of_the_forge_is_no_decision_and_is_not_kept() -> None:
    scene = Scene(FakeForge(fault=Unavailable(Dependency.FORGE, "no answer")))
    with pytest.raises(Unavailable):
        scene.ask()
    scene.forge.fault = None
    assert scene.ask().answer is Answer.APPROVED
