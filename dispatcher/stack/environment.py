"""The environment of an application as the text that the server wants, which it parses like dotenv.

Quotes around a value are stripped, ``#`` begins a comment, double quotes expand ``\\n``, and ``${{...}}``
is replaced. So each value is quoted in a way that survives, or is refused.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from dispatcher.provision.params import BadParams

NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,99}", re.ASCII)
RUN = "DISINTO_STACK_RUN"
"""Variable of every container: the key of the run that deployed it. By it an update recognizes its own."""

LIMIT = 32 * 1024
"""Characters of the whole text."""

_MARK_LINE = re.compile(rf"^{RUN}=(\S*)$", re.ASCII | re.MULTILINE)
_BARE = re.compile(r"[A-Za-z0-9_./:@%+,=-]*", re.ASCII)


def encoded(values: Mapping[str, str]) -> str:
    """The text, sorted by name.

    Raises:
        BadParams: a name or value cannot be sent; the text names it, never its value.
    """
    text = "\n".join(f"{name}={_quoted(name, values[name])}" for name in sorted(values))
    if len(text) > LIMIT:
        raise BadParams(f"environment: more than {LIMIT} characters in all")
    return text


def marked(text: str, run_key: str) -> str:
    """A text with the mark of a run, in place of the one that it may have."""
    rest = _MARK_LINE.sub("", text).strip("\n")
    # First: after what somebody else wrote, it could be within a quoted value.
    return f"{RUN}={run_key}\n{rest}".rstrip("\n")


def run_of(text: str) -> str:
    """The run whose mark a text has; "" for none."""
    found = _MARK_LINE.findall(text)
    return str(found[-1]) if found else ""


def _quoted(name: str, value: str) -> str:
    if not NAME.fullmatch(name):
        raise BadParams("environment: a name is not made of letters, digits and _")
    if name == RUN:
        raise BadParams(f"environment: {name} is set by disinto")
    if "${{" in value:
        raise BadParams(f"environment: {name} has ${{{{, which the server would replace")
    if any(c not in "\n\t" and not c.isprintable() for c in value):
        raise BadParams(f"environment: {name} has a control character")
    if _BARE.fullmatch(value):
        return value
    for quote in "'`":
        if quote not in value and not value.endswith("\\"):
            return f"{quote}{value}{quote}"
    if '"' not in value and "\\" not in value:
        return f'"{value}"'
    raise BadParams(
        f"environment: {name} has quotes that the server cannot store together",
        remedy="Encode it, as base64 for example.",
    )
