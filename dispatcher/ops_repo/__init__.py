"""The ops repo adapter: the only caller of git, except for shell completion.

``dispatcher.cli.ids`` runs one git command on the clone itself: it answers at each press of
TAB, and loading this package takes longer than the command.

``repo`` is the interface, and ``repo_reader`` its read-only part. ``git`` runs the program in the
environment of ``environment``, reaches the remote as ``transport`` says, with the token of
``credential``; ``failure``, ``refusals`` and ``refusal`` say what its messages mean, and
``ownership`` whose a remote is that is a path. ``clone`` keeps the bare clone on disk under
``clone_lock`` and ``upkeep`` packs it; ``repairing`` rebuilds it when it is damaged. ``refs`` (``ref_files``),
``objects``, ``tree_diff``, ``levels``, ``history``, ``versions`` (those that a file had), ``inventory`` and
``reader`` read it, and ``fetching`` brings
what is new, over HTTP through the ``kept_helper`` that speaks in ``packets``. ``files``, ``changes`` and ``tree``
follow what matters in it. ``writer`` publishes a
``batch`` by ``committing`` (``by_trees`` with ``loose_objects`` and ``recent_trees``, and ``fast_import``) and ``push``
(``branch_push``; to a path ``direct_push`` with ``packs``);
``begin`` makes the first commit of a new repository; ``lead`` keeps the ref that says who leads, and
``output_refs`` those with the whole output of runs (``output_commits`` makes what is pushed to them, in a
``scratch_repository``).
``withdrawals`` decides which approvals count no more: ``rewrites`` records what a rewritten
history took back, and ``viewed`` the heads that decisions were made on; ``arrival_dates`` bounds the
dates that commits claim. ``signatures`` determines
who signed, by the lists that ``trusted_keys`` checks and ``trusted_people`` reads; ``authorship`` finds
who wrote a content, and ``additions`` who added an action, as far as commits tell.

``records`` has the plain data that all of these pass; ``lineage`` finds where content came from in
a merge. ``processes`` ends git with all it started, ``holders`` names who holds a lock, ``fsck``
lists which malformed objects are accepted. ``person`` and ``work_tree`` work in the checkout of the
person at the terminal.

What a file means for an action is decided in ``loop`` and ``decide``, and what an approval needs in
``gate``.
"""

from dispatcher.ops_repo.begin import begin, from_anywhere
from dispatcher.ops_repo.changes import Changes, Delta, Formulas
from dispatcher.ops_repo.files import ActionFile, CancelFile, Finished, FormulaFile, ResultFile
from dispatcher.ops_repo.lead import LeadRecord, LeadRef
from dispatcher.ops_repo.output_commits import OutputFile
from dispatcher.ops_repo.output_refs import OutputRefs
from dispatcher.ops_repo.records import (
    CommitInfo,
    Entry,
    Head,
    Move,
    NewFile,
    Published,
    Replaced,
    Seen,
    escaped,
)
from dispatcher.ops_repo.refusals import BranchExists, OutputsRefused, PushRefused
from dispatcher.ops_repo.repo import OpsRepo
from dispatcher.ops_repo.signatures import Signature, SignatureStatus, Signers
from dispatcher.ops_repo.tree import Tree
from dispatcher.ops_repo.viewed import Approach

__all__ = [
    "ActionFile",
    "Approach",
    "BranchExists",
    "CancelFile",
    "Changes",
    "CommitInfo",
    "Delta",
    "Entry",
    "Finished",
    "FormulaFile",
    "Formulas",
    "Head",
    "LeadRecord",
    "LeadRef",
    "Move",
    "NewFile",
    "OpsRepo",
    "OutputFile",
    "OutputRefs",
    "OutputsRefused",
    "Published",
    "PushRefused",
    "Replaced",
    "ResultFile",
    "Seen",
    "Signature",
    "SignatureStatus",
    "Signers",
    "Tree",
    "begin",
    "escaped",
    "from_anywhere",
]
