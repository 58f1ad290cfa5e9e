"""Decisions as pure functions: facts in, steps out. Beside them, the operator's rules that they apply.

Here belongs what can be decided from its arguments alone; the time is one of them. What reads facts and
carries out steps is in ``loop``. Only the two files of the operator are read here.

* ``world``, ``reconcile``, ``steps``: the facts, the decision, and the steps that it may lead to
* ``locks``, ``lock_queue``, ``predecessors``, ``times``: what an action waits for besides its approval
* ``policy``: the file ``policy.toml``; of it ``policy_values`` checks values, ``policy_approval`` has the
  tables on approvals, and ``freeze_windows`` those on freezes, and when they are in force
* ``tiers``, ``approvals``: an action's tier by the policy, and which approvals it needs
* ``placing``: which job class an action runs in, and what it gets from there
* ``agent``: the command of a formula of kind ``.toml``
* ``sidecar_rules``: the file ``sidecars.toml``; ``sidecars`` applies its rules to a ``forge_issue``,
  ``sidecar_outcome`` decides what a run may do to its issue, and ``project_bots`` whose token it gets
"""
