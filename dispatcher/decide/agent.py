"""Builds the agent command: from the settings' template to the argument vector of one run. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence

_PLACEHOLDER = re.compile(r"\{model\}|\{tools\}")


def has_placeholder(argument: str) -> bool:
    """Whether an action's values are filled into this argument of a template."""
    return _PLACEHOLDER.search(argument) is not None


def fill_command(template: Sequence[str], *, model: str, tools: Sequence[str]) -> tuple[str, ...]:
    """Fill ``{model}`` and ``{tools}`` (joined by commas) into a command line.

    No shell is involved: a value stays one argument. An argument that is a placeholder
    alone and becomes empty is left out, together with the option before it, so that
    ``--model {model}`` disappears if no model is named.
    """
    values = {"{model}": model, "{tools}": ",".join(tools)}
    filled: list[str] = []
    for argument in template:
        if values.get(argument, argument) == "":
            if filled and filled[-1].startswith("-"):
                filled.pop()
            continue
        filled.append(_PLACEHOLDER.sub(lambda match: values[match[0]], argument))
    return tuple(filled)
