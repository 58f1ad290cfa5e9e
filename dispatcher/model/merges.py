"""What the commits say that a forge makes when it merges a pull request."""

from __future__ import annotations

import re

_REQUEST = re.compile(r"\(#([0-9]{1,9})\)")

LARGEST_NUMBER = 10**9 - 1
"""Of a pull request."""

_LONGEST = 4_096
"""Characters of a subject that are searched."""


def named_request(message: str) -> int:
    """Number of the pull request that a commit's subject names last; 0 for none. A forge's merges and squashed
    commits have it, and the author of a commit can put any number there.

    Args:
        message: of the commit.
    """
    numbers = _REQUEST.findall(message.partition("\n")[0][:_LONGEST])
    return int(numbers[-1]) if numbers else 0
