"""Gates check approvals before anything runs; beside them, what the forge shows of that.

* ``base``: the interface
* ``by_tier``, ``caching``: the gate of the service: by tier, its answers cached
* ``sourced``: puts the question about an action that the dispatcher wrote to what defines it
* ``expiry``: approves what destroys an expired thing, through the run that gave it its lifetime
* ``main_branch``, ``signed``, ``forgejo``: a gate each; ``approvers``: who may approve by the forge; ``trailer`` reads what a signature
  approves; ``landing``, ``request_records`` and ``approval`` find, read and judge the merged pull request,
  ``request_approval`` asks whose approval of it counts, and ``asked_ahead`` begins to read it when a webhook
  reports the merge
* ``tally`` counts approvals where the policy asks for more than one, or for certain people, and
  ``approval_commits`` finds those that leave the file as it is (``signed``)
* ``history``: what gates need of git; ``ops_repo`` implements it
* ``report``, ``commit_status``, ``request_comment``: write to the forge after decisions (commit
  statuses and one comment), and decide nothing
* ``issue_report``, ``issue_audience``: the same on issues that started sidecars (a comment per rule,
  and labels)
* ``ended``, ``own_comments``, ``markdown``: what all reports share

Which tier an action has is decided in ``decide.tiers``; requests to the forge are made by ``forge``.
"""

from dispatcher.gate.base import Answer, Decision, Gate, Question
from dispatcher.gate.by_tier import TieredGate
from dispatcher.gate.main_branch import NoGate

__all__ = ["Answer", "Decision", "Gate", "NoGate", "Question", "TieredGate"]
