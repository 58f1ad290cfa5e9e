"""Where the files of an ops repo stand, and how their names end.

Constants alone: shell completion imports this at every press of a key.
"""

ACTIONS_PATH = "vault/actions"
"""Directory of the actions, from the root of an ops repo."""

DONE_PATH = "vault/done"
"""Directory of the archive, with one directory for each month."""

FORMULAS_PATH = "formulas"
"""Directory of the ops repo's own formulas, with their schemas and the files that they read."""

SCHEDULES_PATH = "vault/schedules"
"""Directory of the schedules."""

PROJECTS_PATH = "projects"
"""Directory of the descriptions of projects, by default. The dispatcher does not read them."""

JUDGED = (ACTIONS_PATH, FORMULAS_PATH, SCHEDULES_PATH)
"""Directories of all files that a gate is ever asked about. What a rewritten history drops there takes
approvals back (``dispatcher.ops_repo.rewrites``).
"""

ACTION_ENDING = ".toml"
RESULT_ENDING = ".result.json"
CANCEL_ENDING = ".cancel.toml"


def result_name(action_id: str) -> str:
    """The name of an action's result file."""
    return f"{action_id}{RESULT_ENDING}"
