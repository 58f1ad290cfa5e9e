"""The table of attacks: what is tried, against what, and how it ends.

``tests/acceptance/test_attacks.py`` and ``test_attacks_on_git.py`` show each row; ``docs/attacks.md`` is written from them by
``python -m tests.acceptance.attack_table > docs/attacks.md``, and a test compares the two.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

FORGE = "Forgejo, live and recorded"
GIT = "git and OpenSSH"
REMOTE = "git"
HTTP = "the listener"

INTRODUCTION = """\
# Attacks on approval

What somebody could try in order to have an action run without the approval that its tier asks
for, and how it ends. Each row is a test in `tests/acceptance/test_attacks.py` or `test_attacks_on_git.py`; this page is
written from the same table, and a test compares them. Rows marked *live and recorded* run against a real Forgejo where
one is there, and everywhere against its recorded answers.

*waiting* and *refused* actions do not run and keep their id; *invalid* ones get a result that says
so; *ignored* files are no actions at all, and `status` warns of them; *unheard* means that nobody
was told anything. None of them runs.

| attack | shown on | ends | since |
|---|---|---|---|
"""


@dataclass(frozen=True, kw_only=True)
class Attack:
    """One row.

    Attributes:
        name: key of the row, and name of its recording.
        what: what somebody does.
        on: what it is shown on.
        outcome: waiting, refused, invalid, ignored or unheard.
        because: the reason in words; for the docs.
        said: a part of the reason that the dispatcher gives.
    """

    name: str
    what: str
    on: str
    outcome: str
    because: str
    said: str


TABLE = (
    Attack(
        name="self_approval",
        what="An administrator opens a pull request, and approves and merges it alone",
        on=FORGE,
        outcome="waiting",
        because="whoever opened a request has no say in it; the forge refuses the review as well",
        said="without an approval that counts",
    ),
    Attack(
        name="older_head",
        what="A review names an older commit of the request, and the newer one is merged",
        on=FORGE,
        outcome="waiting",
        because="only a review of the merged head counts",
        said="not the merged",
    ),
    Attack(
        name="push_after_approval",
        what="The author pushes once more after the approval, and merges",
        on=FORGE,
        outcome="waiting",
        because="the approval was for another head",
        said="not the merged",
    ),
    Attack(
        name="push_and_back",
        what="After the approval the author pushes, forces the branch back to what was approved, and merges",
        on=FORGE,
        outcome="waiting",
        because="an approval must be later than the last push",
        said="before the last push",
    ),
    Attack(
        name="approval_dismissed",
        what="The approval is dismissed, and the request is merged all the same",
        on=FORGE,
        outcome="waiting",
        because="a dismissed approval does not count",
        said="dismissed",
    ),
    Attack(
        name="approval_then_rejection",
        what="The administrator who approved rejects it afterwards, and it is merged all the same",
        on=FORGE,
        outcome="waiting",
        because="each person's latest decision counts",
        said="rejected it",
    ),
    Attack(
        name="approval_by_non_admin",
        what="Somebody who may write, but does not administer, approves",
        on=FORGE,
        outcome="waiting",
        because="approvers are administrators, or those whom the settings name",
        said="may not approve actions",
    ),
    Attack(
        name="approval_by_reader",
        what="Somebody who may only read approves",
        on=FORGE,
        outcome="waiting",
        because="the forge does not call that review official",
        said="without the right to",
    ),
    Attack(
        name="approval_outside_the_list",
        what="An administrator approves who is not among the approvers that the settings name",
        on=FORGE,
        outcome="waiting",
        because="a list of approvers replaces the administrators",
        said="may not approve actions",
    ),
    Attack(
        name="second_account",
        what="A bot opens a request with commits of its second account, an administrator, which approves it",
        on=FORGE,
        outcome="waiting",
        because="whoever wrote a commit of the request has no say in it",
        said="wrote its commit",
    ),
    Attack(
        name="second_account_by_address",
        what="The same, the commit carrying only the second account's address as co-author",
        on=FORGE,
        outcome="waiting",
        because="addresses in the commits are compared with the approver's",
        said="the same e-mail address",
    ),
    Attack(
        name="second_account_by_push",
        what="The second account pushes somebody else's commit to the request, and approves it",
        on=FORGE,
        outcome="waiting",
        because="whoever pushed to the request has no say in it",
        said="pushed to it",
    ),
    Attack(
        name="deleted_author",
        what="The account that opened the request is deleted",
        on=FORGE,
        outcome="waiting",
        because="nobody can tell any more that it was not the approver",
        said="the account that opened it is gone",
    ),
    Attack(
        name="direct_push",
        what="A high action is pushed to the main branch without a request",
        on=FORGE,
        outcome="refused",
        because="no merged request brought it",
        said="without a merged pull request",
    ),
    Attack(
        name="direct_push_by_admin",
        what="An administrator pushes a high action to the main branch",
        on=FORGE,
        outcome="refused",
        because="administrators need a second person as well",
        said="without a merged pull request",
    ),
    Attack(
        name="claims_in_the_file",
        what='The file says `blast_radius = "low"` and `dispatch_mode = "direct"`',
        on=GIT,
        outcome="waiting",
        because="an action may raise its tier and never lower it; `dispatch_mode` grants nothing",
        said="is not signed",
    ),
    Attack(
        name="policy_in_the_ops_repo",
        what="A `policy.toml` that calls everything low is pushed to the ops repo",
        on=GIT,
        outcome="waiting",
        because="the policy comes from the dispatcher's own configuration",
        said="is not signed",
    ),
    Attack(
        name="secret_under_low",
        what="A low formula is asked for with a secret that the policy does not name",
        on=GIT,
        outcome="waiting",
        because="the tier is the highest of formula, action, secrets and mounts; what the policy does not name is high",
        said="tier high (secret PROD_DB_PASSWORD raises it to high (not named in [secrets]))",
    ),
    Attack(
        name="mount_under_low",
        what="A low formula is asked for with a mount that the policy calls high",
        on=GIT,
        outcome="waiting",
        because="the tier is the highest of formula, action, secrets and mounts",
        said="tier high (mount ssh raises it to high ([mounts] ssh))",
    ),
    Attack(
        name="trust_of_another_formula",
        what="A low formula is asked for with a secret that the policy trusts another formula with",
        on=GIT,
        outcome="waiting",
        because="the list of a formula counts for that formula alone",
        said="secret PROD_DB_PASSWORD raises it to high",
    ),
    Attack(
        name="formula_swapped",
        what="The formula of an approved action is replaced in the ops repo by a direct push",
        on=FORGE,
        outcome="refused",
        because="a formula's last change needs approval at tier high of its own",
        said="formula formulas/theirs.sh needs approval at tier high",
    ),
    Attack(
        name="formula_under_low",
        what="A low action is pushed together with a formula of its own in the ops repo",
        on=FORGE,
        outcome="refused",
        because="formulas of the ops repo need approval at tier high, whatever the action's tier",
        said="formula formulas/theirs.sh needs approval at tier high",
    ),
    Attack(
        name="edited_after_merge",
        what="An approved and merged file is changed by a direct push",
        on=FORGE,
        outcome="refused",
        because="the last change did not come by a request",
        said="without a merged pull request",
    ),
    Attack(
        name="edited_and_back",
        what="It is changed and changed back, so that its content is the approved one",
        on=FORGE,
        outcome="refused",
        because="the last change did not come by a request, whatever it holds",
        said="without a merged pull request",
    ),
    Attack(
        name="history_rewritten",
        what="The merge commit is replaced by a force-push with one that holds other content",
        on=FORGE,
        outcome="refused",
        because="no request was merged as that commit",
        said="without a merged pull request",
    ),
    Attack(
        name="withdrawal_forced_away",
        what="An approved action was withdrawn by a later commit, which a force-push drops",
        on=FORGE,
        outcome="refused",
        because="what a rewritten history withdrew or changed needs a new approval",
        said="main was rewritten since commit",
    ),
    Attack(
        name="hidden_in_a_merge",
        what="An approved request is merged by hand, the merge commit changing the file, and pushed",
        on=FORGE,
        outcome="refused",
        because="a merge commit that changes the file is its last change",
        said="without a merged pull request",
    ),
    Attack(
        name="older_content_by_a_merge",
        what="A merge commit brings back content that was approved once and replaced since",
        on=FORGE,
        outcome="refused",
        because="every commit that changed the file must lie before the request's merge",
        said="brought older content back",
    ),
    Attack(
        name="branch_moved_after_merge",
        what="After an unapproved merge the branch is moved to a commit that was approved",
        on=FORGE,
        outcome="waiting",
        because="what was merged is read from the request's own ref, which stays where it was",
        said="not the merged",
    ),
    Attack(
        name="pull_ref_overwritten",
        what="After an unapproved merge `refs/pull/<n>/head` is overwritten with a commit that was approved",
        on=FORGE,
        outcome="waiting",
        because="the forge's own record of pushes, which nobody can edit, names another head",
        said="the last push to it was",
    ),
    Attack(
        name="renamed",
        what="An approved action is renamed to a new id, in a signed commit",
        on=GIT,
        outcome="invalid",
        because="the id inside the file is not the file's stem any more",
        said="id",
    ),
    Attack(
        name="formula_renamed",
        what="An approved formula is renamed to another formula's name by a request that nobody approved",
        on=FORGE,
        outcome="waiting",
        because="approval goes with the request that brought the name",
        said="nobody reviewed it",
    ),
    Attack(
        name="owned_by_another_request",
        what="An id that an approved request brought is replaced by another, unapproved request",
        on=FORGE,
        outcome="waiting",
        because="the request that brought the present content decides",
        said="nobody reviewed it",
    ),
    Attack(
        name="symlink",
        what="A new action is a symbolic link to an approved one, in a signed commit",
        on=GIT,
        outcome="invalid",
        because="an action is a regular file",
        said="a symbolic link",
    ),
    Attack(
        name="case_twin",
        what="Beside an approved `x.toml` an `X.toml` is pushed, in a signed commit",
        on=GIT,
        outcome="ignored",
        because="ids are lower case; a file of any other name is no action",
        said="vault/actions/X.toml",
    ),
    Attack(
        name="request_into_another_branch",
        what="A request into another branch is approved and merged there, and the branch is pushed to main",
        on=FORGE,
        outcome="refused",
        because="only requests into the main branch count",
        said="without a merged pull request",
    ),
    Attack(
        name="forge_down",
        what="The forge is made unreachable",
        on="Forgejo, live",
        outcome="waiting",
        because="an action that needs the forge waits until it answers; it is neither run nor refused",
        said="the forge did not answer",
    ),
    Attack(
        name="forge_nonsense",
        what="The forge, or something in its place, answers nonsense: other shapes, HTML, redirects, errors, endless bodies",
        on="made-up answers",
        outcome="waiting",
        because="an answer that does not parse whole is no answer",
        said="the forge",
    ),
    Attack(
        name="unsigned",
        what="Gate `signed`: the last change of the file is an unsigned commit",
        on=GIT,
        outcome="waiting",
        because="a signed change is still missing",
        said="is not signed",
    ),
    Attack(
        name="wrongly_signed",
        what="Gate `signed`: it is signed by a key that is not on the list",
        on=GIT,
        outcome="waiting",
        because="the list lies outside the ops repo",
        said="is signed by a key that is not allowed",
    ),
    Attack(
        name="list_in_the_ops_repo",
        what="Gate `signed`: the attacker's key is added to an allowed-signers file in the ops repo",
        on=GIT,
        outcome="waiting",
        because="the list lies outside the ops repo",
        said="is signed by a key that is not allowed",
    ),
    Attack(
        name="expired_key",
        what="Gate `signed`: it is signed by a key whose time is over, with a date inside that time",
        on=GIT,
        outcome="waiting",
        because="the key must be valid now and at the date that the commit claims",
        said="outside the time",
    ),
    Attack(
        name="revoked_key",
        what="Gate `signed`: it is signed by a key that was revoked",
        on=GIT,
        outcome="refused",
        because="a revocation is not taken back: this refusal is final and becomes a result",
        said="revoked",
    ),
    Attack(
        name="signature_of_another_commit",
        what="Gate `signed`: the commit carries the signature of another commit",
        on=GIT,
        outcome="refused",
        because="the signature does not fit",
        said="a signature that does not fit",
    ),
    Attack(
        name="unsigned_merge_hides_a_change",
        what="Gate `signed`: an unsigned merge of signed commits changes the file",
        on=GIT,
        outcome="waiting",
        because="a merge commit that changes the file is its last change",
        said="is not signed",
    ),
    Attack(
        name="unsigned_merge_brings_old_content",
        what="Gate `signed`: an unsigned merge brings back content that was signed once and replaced since",
        on=GIT,
        outcome="waiting",
        because="every commit that changed the file must lie before the signed one",
        said="brought older content back",
    ),
    Attack(
        name="foreign_repository_merged",
        what="Gate `signed`: a signed commit of another repository, formula and action, is merged with `--allow-unrelated-histories`",
        on=GIT,
        outcome="waiting",
        because="an approval names the repository it is for",
        said="its message does not approve it here",
    ),
    Attack(
        name="foreign_formula_merged",
        what="Gate `signed`: the same with the formula alone, under a low action",
        on=GIT,
        outcome="waiting",
        because="an approval names the repository it is for; formulas need their own",
        said="needs approval at tier high",
    ),
    Attack(
        name="signed_draft",
        what="Gate `signed`: a signed draft, on a branch that nobody approved, is fast-forwarded into the main branch",
        on=GIT,
        outcome="waiting",
        because="a signature alone approves nothing: the signed message must name the action",
        said="its message does not approve it here",
    ),
    Attack(
        name="approved_on_another_branch",
        what="Gate `signed`: a commit that approves an action for another branch is pushed to the main branch",
        on=GIT,
        outcome="waiting",
        because="an approval names the branch it is for",
        said="its message does not approve it here",
    ),
    Attack(
        name="approval_of_another_action",
        what="Gate `signed`: a commit that approves one action brings a second one",
        on=GIT,
        outcome="waiting",
        because="an approval names each action and formula it is for",
        said="its message does not approve it here",
    ),
    Attack(
        name="approved_merge_brings_more",
        what="Gate `signed`: an approver's signed merge names one action of the branch, and the branch holds another",
        on=GIT,
        outcome="waiting",
        because="an approval names each action and formula it is for",
        said="its message does not approve it here",
    ),
    Attack(
        name="changed_after_approved_merge",
        what="Gate `signed`: an action that an approver's signed merge brought is changed by an unsigned commit",
        on=GIT,
        outcome="waiting",
        because="an approval is for the content that the signed commit holds",
        said="is not signed",
    ),
    Attack(
        name="approval_cherry_picked",
        what="Gate `signed`: a commit that approves an action is cherry-picked by somebody else",
        on=GIT,
        outcome="waiting",
        because="the copy is another commit, and nobody signed it",
        said="is not signed",
    ),
    Attack(
        name="approval_in_unsigned_message",
        what="Gate `signed`: an unsigned commit carries the line of an approval",
        on=GIT,
        outcome="waiting",
        because="the line counts in a signed message alone",
        said="is not signed",
    ),
    Attack(
        name="withdrawal_dropped",
        what="Gate `signed`: an approved action was withdrawn by a signed deletion, which a force-push drops",
        on=GIT,
        outcome="waiting",
        because="what a rewritten history withdrew or changed needs a new approval",
        said="the branch was rewritten",
    ),
    Attack(
        name="withdrawal_dropped_in_two_steps",
        what="Gate `signed`: the same in two pushes: first the branch goes back before the action, then forward to its approval",
        on=GIT,
        outcome="waiting",
        because="what a rewritten history withdrew or changed needs a new approval",
        said="the branch was rewritten",
    ),
    Attack(
        name="older_formula_restored",
        what="Gate `signed`: a signed change of a formula of the ops repo is dropped by a force-push, so that the older one is back",
        on=GIT,
        outcome="waiting",
        because="what a rewritten history withdrew or changed needs a new approval",
        said="the branch was rewritten",
    ),
    Attack(
        name="no_gate",
        what="No gate is configured, and a high action is pushed",
        on=REMOTE,
        outcome="waiting",
        because="nobody can approve",
        said="no gate is configured",
    ),
    Attack(
        name="forged_webhook",
        what="The webhook is called without a signature, with an empty or a wrong one, or one for another body",
        on=HTTP,
        outcome="unheard",
        because="the signature is an HMAC of the raw body with a shared secret",
        said="the signature is missing or wrong",
    ),
    Attack(
        name="replayed_webhook",
        what="A genuine call is sent again, or says that something was merged which was not",
        on=HTTP,
        outcome="waiting",
        because='a call means "look now" and nothing else; what is there is looked up',
        said="no gate is configured",
    ),
)

ATTACKS = {attack.name: attack for attack in TABLE}

SHOWN: set[str] = set()

_Test = TypeVar("_Test", bound=Callable[..., None])


def shows(name: str) -> Callable[[_Test], _Test]:
    """Says which row a test shows; each row has one test, named after it."""
    attack = ATTACKS[name]

    def mark(test: _Test) -> _Test:
        assert test.__name__ == f"test_{attack.name}"
        assert attack.name not in SHOWN
        SHOWN.add(attack.name)
        return test

    return mark


def page() -> str:
    """The text of ``docs/attacks.md``."""
    rows = (f"| {a.what} | {a.on} | **{a.outcome}** | {a.because} |\n" for a in TABLE)
    return INTRODUCTION + "".join(rows)


if __name__ == "__main__":
    sys.stdout.write(page())
