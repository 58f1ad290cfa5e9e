"""The ops repo adapter: the only caller of git.

``repo`` is the face; ``clone`` keeps the bare clone on disk, ``objects`` and ``reader`` ask it,
``tree`` follows what matters in it, ``writer`` publishes, ``begin`` makes the first commit of a new
repository, ``lead`` keeps the ref that says who leads, ``rewrites`` what a rewritten history took back,
``viewed`` the heads that decisions were made on,
``upkeep`` packs the clone, ``signatures`` tells who signed by the lists that ``trusted_keys`` checks,
``ownership`` whose a remote is that is a path, ``refusals`` and ``refusal`` what a remote that refuses
means, and ``git`` runs the program.
"""

from dispatcher.ops_repo.begin import begin, from_anywhere
from dispatcher.ops_repo.changes import Changes, Delta, Formulas
from dispatcher.ops_repo.files import ActionFile, CancelFile, Finished, FormulaFile, ResultFile
from dispatcher.ops_repo.lead import LeadRecord, LeadRef
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
from dispatcher.ops_repo.refusals import BranchExists, PushRefused
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
