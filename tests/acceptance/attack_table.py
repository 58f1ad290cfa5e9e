"""The tables of attacks: what is tried, and how it ends.

``TABLE`` holds the attacks on approval, each shown by the test of its name in ``test_attacks.py`` or
``test_attacks_on_git.py``. ``DEFENCES`` holds all others, each with the test that shows it.
``docs/attacks.md`` is written from both by ``python -m tests.acceptance.attack_table >
docs/attacks.md``; ``tests/unit/test_attack_table.py`` compares them.
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
# Attacks

What was tried against the dispatcher, and how it ends: to have an action run without the approval
that its tier requires, to have one run twice, to forge or suppress a result, and to reach secrets.
Each row is a test. This page is written from the same tables, and a test compares them. How the
defences work is in [security.md](security.md) and [design.md](design.md).

## On approval

The tests are in `tests/acceptance/test_attacks.py` and `test_attacks_on_git.py`. Rows marked *live and
recorded* run against a real Forgejo if one is available, and always against its recorded answers.

*waiting* and *refused* actions do not run and keep their id; *invalid* ones get a result that states
the reason; *ignored* files are not actions, and `status` warns about them; *unheard* means that the
call had no effect. None of them runs.

| attack | shown on | ends | because |
|---|---|---|---|
"""


@dataclass(frozen=True, kw_only=True)
class Attack:
    """One row on approval.

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


@dataclass(frozen=True, kw_only=True)
class Defence:
    """One row of another section.

    Attributes:
        what: what somebody does.
        ends: what happens instead; for the docs.
        test: the test that shows it, as ``file::test`` or ``file::Class::test`` below ``tests/``.
    """

    what: str
    ends: str
    test: str


@dataclass(frozen=True, kw_only=True)
class Section:
    """Attacks on one thing: a heading and a paragraph for the docs, and the rows."""

    title: str
    about: str
    rows: tuple[Defence, ...]


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

SECTIONS = (
    Section(
        title="On results",
        about="Anybody who may push can put a file where a result belongs, or remove one. Here they push to a real remote, with a real OpenBao and real signatures.",
        rows=(
            Defence(
                what="A made-up result, `succeeded` and `approved_by: ada`, is pushed for a waiting action, and deleted again",
                ends="the id stays used and gets a result `invalid`; the made-up text is neither restored nor signed",
                test="integration/test_hostile_results.py::test_a_made_up_result_that_is_deleted_does_not_come_back_signed",
            ),
            Defence(
                what="A genuine result is edited, and the edited file is deleted",
                ends="the id stays used and gets a result `invalid`; the edited text does not verify and is not restored",
                test="integration/test_hostile_results.py::test_an_edited_result_that_is_deleted_does_not_come_back",
            ),
            Defence(
                what="A genuine result is deleted",
                ends="it is restored byte for byte, with its signature",
                test="integration/test_hostile_results.py::test_a_genuine_result_that_is_deleted_comes_back_byte_for_byte",
            ),
            Defence(
                what="The genuine result of one action is pushed as that of another, and deleted",
                ends="the signature is for another id: `invalid`, nothing is restored",
                test="integration/test_hostile_results.py::test_a_genuine_result_of_another_action_is_not_put_back",
            ),
            Defence(
                what="A result is deleted after its action was edited",
                ends="the signature is for another content: `invalid`, and the action does not run again",
                test="integration/test_hostile_results.py::test_a_genuine_result_does_not_come_back_beside_another_content",
            ),
            Defence(
                what="A made-up result is reachable from `refs/disinto/seen`, or in the history only, and the dispatcher starts with a fresh clone and an empty ledger",
                ends="nothing is believed that our key did not sign: the action still waits for its approval",
                test="integration/test_hostile_results.py::test_a_made_up_result_in_the_remotes_memory_neither_comes_back_nor_suppresses",
            ),
            Defence(
                what="A forged result, garbage, an empty file, a symbolic link, a submodule or a directory is pushed to a result's path during the run, or a forged result to the archive",
                ends="the run goes on, and its genuine result replaces what was there, in a commit that names it; the foreign one is in the audit log",
                test="integration/test_hostile_results.py::test_the_genuine_outcome_takes_the_place_of_what_was_put_there",
            ),
            Defence(
                what="A forged result arrives between our fetch and our push",
                ends="the push is rebuilt; the genuine result replaces the forged one",
                test="integration/test_hostile_results.py::test_a_forged_result_that_comes_just_before_ours_does_not_stay",
            ),
            Defence(
                what="A result is pushed for an action that never ran",
                ends="the action does not run (a lost key must not run everything again); the file is reported as foreign, with its commit, in audit log and `status`",
                test="integration/test_hostile_results.py::test_a_foreign_result_of_an_action_that_never_ran_is_told_and_starts_nothing",
            ),
            Defence(
                what="An archived id is added again",
                ends="it waits with the reason, and gets no second result",
                test="integration/test_hostile_results.py::test_an_archived_id_that_is_added_again_gets_no_second_result",
            ),
            Defence(
                what="`refs/disinto/seen/x` is pushed, so that git cannot write `refs/disinto/seen`",
                ends="results are pushed without it; a warning quotes the remote",
                test="integration/test_lost_memory.py::test_a_ref_beside_ours_blocks_no_result",
            ),
            Defence(
                what="A hook of the remote refuses `refs/disinto/*`",
                ends="results are pushed without it, and the ref is retried later",
                test="integration/test_ops_repo_refusals.py::test_a_hook_that_refuses_the_memory_is_quoted_and_asked_again",
            ),
            Defence(
                what="A hook refuses results in the words of a lost race",
                ends="reported as a refusal, not retried as a race",
                test="integration/test_ops_repo_refusals.py::test_a_hook_whose_words_look_like_a_race_is_a_refusal",
            ),
            Defence(
                what="Branches or tags named `refs/heads/main` or `refs/disinto/seen` are pushed, so that the short names are ambiguous",
                ends="results are pushed, because whole names are used",
                test="integration/test_ops_repo_publish.py::test_a_ref_whose_name_ends_like_ours_is_not_in_the_way",
            ),
            Defence(
                what="A branch `ask` is pushed, below which git cannot make the branch of a pull request `ask/one`",
                ends="reported as a refusal that names the branch",
                test="integration/test_ops_repo_refusals.py::test_a_branch_below_another_is_no_race",
            ),
            Defence(
                what="Actions are pushed whose names are not valid ids: not UTF-8, upper case, too long, control characters",
                ends="no run and no result; the others run",
                test="integration/test_misnamed_files.py::test_names_that_are_no_ids_get_no_result",
            ),
            Defence(
                what="Results with such names are pushed and deleted",
                ends="no memory of them is kept, and a restart succeeds",
                test="integration/test_misnamed_files.py::test_results_of_such_names_that_come_and_go_leave_no_memory",
            ),
            Defence(
                what="An author's name or a ref is not UTF-8",
                ends="actions run as usual",
                test="integration/test_misnamed_files.py::test_authors_and_refs_of_such_names",
            ),
            Defence(
                what="A file name contains terminal escapes",
                ends="`status` and `plan` show it escaped",
                test="integration/test_misnamed_files.py::test_status_and_plan_name_them_escaped",
            ),
        ),
    ),
    Section(
        title="On running once",
        about="What remembers that an id ran is lost, damaged or forged, or a second dispatcher is started. No id runs twice.",
        rows=(
            Defence(
                what="`seen` in the clone is empty, garbage, absent, a directory, or names a missing commit, a blob, a tree or a tag, and a result is deleted",
                ends="the ledger's copy is used: the result is restored",
                test="integration/test_lost_memory.py::test_a_damaged_ref_in_the_clone_is_made_good_by_the_ledger",
            ),
            Defence(
                what="The clone is lost, and the remote's `seen` and a result are deleted",
                ends="the ledger's copy is used: the result is restored",
                test="integration/test_lost_memory.py::test_a_lost_clone_and_a_deleted_ref_while_the_ledger_survived",
            ),
            Defence(
                what="The same, and the history is rewritten, so that the ledger names a commit that no longer exists",
                ends="nobody can tell which ids ran: what is open becomes `invalid`",
                test="integration/test_lost_memory.py::test_nobody_can_tell_what_ran_when_all_that_is_left_names_a_commit_that_is_gone",
            ),
            Defence(
                what="Ledger and clone are lost, and a result is deleted by a commit on top",
                ends="the history is searched: what our key signed is restored",
                test="integration/test_lost_memory.py::test_all_memory_lost_still_finds_what_the_history_deleted",
            ),
            Defence(
                what="Ledger and clone are lost, and the history is rewritten to before the result",
                ends="the remote's `seen` still has it: what our key signed is restored",
                test="integration/test_hostile_results.py::test_a_genuine_result_that_the_history_lost_is_learned_from_the_remotes_memory",
            ),
            Defence(
                what="The remote's `seen` names a blob, a tree, a tag, an older or newer commit, or a foreign history",
                ends="it is not believed; no action runs twice, and new ones run",
                test="integration/test_lost_memory.py::test_whatever_the_remotes_ref_names_does_no_harm",
            ),
            Defence(
                what="A second dispatcher with separate state serves the same ops repo",
                ends="it starts nothing and names the one that leads",
                test="integration/test_lead.py::test_who_comes_second_starts_nothing_and_says_who_leads",
            ),
            Defence(
                what="Both start at the same time",
                ends="one of them leads",
                test="integration/test_lead.py::test_two_that_begin_at_once_do_not_both_lead",
            ),
            Defence(
                what="A second dispatcher runs on a copy of the state directory",
                ends="it starts nothing, and stops no run of the original",
                test="integration/test_lead.py::test_a_copied_state_directory_touches_nothing",
            ),
            Defence(
                what="The same, and `refs/disinto/lead` is deleted",
                ends="it still recognizes that it is a copy",
                test="integration/test_lead.py::test_a_copy_stays_one_if_the_ref_is_gone",
            ),
            Defence(
                what="An old backup of the ledger is restored in place",
                ends="it does not lead until an operator takes over",
                test="integration/test_lead.py::test_an_old_copy_that_is_put_back_in_its_place_does_not_lead",
            ),
            Defence(
                what="The configuration is copied to another machine",
                ends="`doctor`, `status` and `plan` name the installation that leads",
                test="integration/test_takeover.py::test_every_view_names_who_leads",
            ),
            Defence(
                what="`refs/disinto/lead` is forged or overwritten",
                ends="launches stop until an operator takes over; results of runs under way are published",
                test="integration/test_lead_attacks.py::test_a_foreign_value_stops_launches_and_no_result",
            ),
            Defence(
                what="An earlier value of ours is pushed to `refs/disinto/lead`",
                ends="not believed",
                test="integration/test_lead_attacks.py::test_a_value_of_ours_from_before_is_not_believed",
            ),
            Defence(
                what="A record with our name is pushed to `refs/disinto/lead`",
                ends="not believed: the ledger knows which records are ours",
                test="integration/test_lead_attacks.py::test_our_name_on_a_record_that_we_did_not_write_makes_it_no_record_of_ours",
            ),
            Defence(
                what="`refs/disinto/lead` is deleted",
                ends="written again, because the ledger knows what was ours",
                test="integration/test_lead_attacks.py::test_a_deleted_ref_is_put_back",
            ),
            Defence(
                what="The remote refuses or hides `refs/disinto/lead`, or `refs/disinto/lead/x` is pushed",
                ends="a warning, and actions run; there is no protection against a second installation meanwhile",
                test="integration/test_lead_attacks.py::test_a_remote_that_cannot_hold_the_ref_stops_nothing",
            ),
            Defence(
                what="A branch is named `refs/disinto/lead`",
                ends="not taken for it",
                test="integration/test_lead_attacks.py::test_a_branch_of_the_same_name_is_not_the_lead",
            ),
        ),
    ),
    Section(
        title="On secrets and the sandbox",
        about="By an action's fields, by a formula, by the owner of a remote, and by others who use the same Vault.",
        rows=(
            Defence(
                what="An action's `model` or `tools` name a file of the dispatcher, to have it shown to the agent",
                ends="only words of the operator's own command are paths; the file stays hidden",
                test="integration/test_local_hiding.py::test_only_the_operators_words_name_programs",
            ),
            Defence(
                what="A word of the operator's command leads into what is hidden, by a link or by dots",
                ends="nothing hidden is shown; with a link the run is not started",
                test="integration/test_local_hiding.py::test_an_operators_word_shows_nothing_that_is_hidden",
            ),
            Defence(
                what="An action names a mount whose directory is, or lies in, what is hidden",
                ends="`unplaceable`; nothing hidden is shown",
                test="integration/test_local_hiding.py::test_a_mount_never_shows_what_is_hidden",
            ),
            Defence(
                what="A token file is a link that is switched while a formula runs",
                ends="the new target stays hidden",
                test="integration/test_local_hiding.py::test_a_link_that_is_switched_while_a_formula_runs",
            ),
            Defence(
                what="A token file is made while a formula runs",
                ends="it stays hidden",
                test="integration/test_local_hiding.py::test_a_file_that_is_made_while_a_formula_runs",
            ),
            Defence(
                what="A formula run as root writes kernel settings",
                ends="`/proc` and `/sys` hold nothing that it can write",
                test="integration/test_local_hiding.py::TestRoot::test_no_setting_of_the_kernel_can_be_written",
            ),
            Defence(
                what="It mounts a second `/proc`, or makes the first one writable",
                ends="not possible: it lacks the capability",
                test="integration/test_local_hiding.py::TestRoot::test_not_through_another_proc_either",
            ),
            Defence(
                what="A formula puts a file, link or directory where its runner writes `outcome.json`",
                ends="removed; the runner's outcome counts",
                test="integration/test_outcome_forged.py::test_what_a_formula_puts_in_the_way_is_cleared_away",
            ),
            Defence(
                what="A local formula without a sandbox leaves a forged `outcome.json`, a directory, a pipe, a link or 20 MB there, and kills its runner",
                ends="the run is `lost`; nothing it left is used",
                test="integration/test_outcome_forged.py::test_a_local_run_without_a_sandbox_whose_formula_kills_its_runner_is_lost",
            ),
            Defence(
                what="A formula on Nomad forges `outcome.json` and kills its runner",
                ends="Nomad's exit code decides: `failed`",
                test="integration/test_outcome_forged_nomad.py::test_a_forged_outcome_of_a_killed_runner",
            ),
            Defence(
                what="`model` and `tools` make a path component that is too long, to have the run retried without end",
                ends="they are never taken for paths: the run starts",
                test="integration/test_submit_bounds.py::test_tools_that_make_a_long_name",
            ),
            Defence(
                what="Two actions that can never be submitted take both places",
                ends="each ends as `error` after three tries, without a live grant; the others run",
                test="integration/test_submit_bounds.py::test_two_that_can_never_be_submitted",
            ),
            Defence(
                what="A remote that is a path has hooks, and belongs to somebody else",
                ends="read, never pushed to; no hook runs",
                test="integration/test_ops_repo_owner.py::test_a_repository_of_somebody_else_is_read_and_not_pushed_to",
            ),
            Defence(
                what="Only one hook, the configuration or a directory of it belongs to somebody else",
                ends="the same",
                test="integration/test_ops_repo_owner.py::test_a_part_of_somebody_else_is_enough",
            ),
            Defence(
                what="The configuration of such a repository names commands for reading",
                ends="none of them runs",
                test="integration/test_ops_repo_owner.py::test_reading_a_hostile_repository_runs_none_of_its_commands",
            ),
            Defence(
                what="Such a repository is a partial clone that fetches what is missing by a command",
                ends="no transport is allowed: the command does not run",
                test="integration/test_ops_repo_owner.py::test_a_partial_clone_fetches_nothing_for_us",
            ),
            Defence(
                what="What is in Vault's place redirects the runner",
                ends="not followed; no token is sent, and the formula does not start",
                test="integration/test_redirects.py::test_the_runner_stops_at_a_redirect_and_sends_it_no_token",
            ),
            Defence(
                what="It redirects the dispatcher instead",
                ends="not followed; no token is sent",
                test="integration/test_redirects.py::test_the_dispatcher_sends_its_token_to_no_redirect",
            ),
            Defence(
                what="A wrapping token is unwrapped by somebody else",
                ends="the formula does not start; reported as possible interception",
                test="integration/test_unwrapping.py::test_one_that_somebody_else_unwrapped_is_an_interception",
            ),
            Defence(
                what="A policy of somebody else has the name of one of ours",
                ends="`apply` and `secrets` neither overwrite nor delete it",
                test="integration/test_vault_installations.py::test_a_policy_of_somebody_else_is_neither_written_over_nor_deleted",
            ),
            Defence(
                what="A dispatcher mints with a policy of another installation",
                ends="Vault refuses, also where one name begins with the other",
                test="integration/test_vault_installations.py::test_no_installation_mints_with_a_policy_of_another",
            ),
            Defence(
                what="Staging is set up from a copy of production's settings",
                ends="refused, unless `--adopt` is given; production's policies are unchanged",
                test="integration/test_vault_installations.py::test_a_copy_of_the_settings_redirects_no_policy_of_the_original",
            ),
        ),
    ),
)

DEFENCES = tuple(row for section in SECTIONS for row in section.rows)

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
    return INTRODUCTION + "".join(rows) + "".join(_of(section) for section in SECTIONS)


def _of(section: Section) -> str:
    head = f"\n## {section.title}\n\n{section.about}\n\n| attack | what happens | test |\n|---|---|---|\n"
    return head + "".join(f"| {d.what} | {d.ends} | `{d.test}` |\n" for d in section.rows)


if __name__ == "__main__":
    sys.stdout.write(page())
