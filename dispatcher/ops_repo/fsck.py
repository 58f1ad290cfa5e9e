"""Which malformed objects a fetch accepts, by git's names for them (``git help fsck``).

A malformed commit stays in the history after the file it brought is deleted, and every fetch of that
history fails. So a check that protects nothing here is a way to stop everybody. The clone has no
work tree and no submodules: what is dangerous only in a checkout, or in a submodule, is accepted.
Other messages are about names and dates that nobody is identified by; old histories have many.

Refused, as by default, is whatever two programs may read in two ways, or not at all: a name with a
slash or without a letter, a name twice, entries out of order, two authors, no author, a NUL in a
commit, headers that are no headers. One of the readers is the person who approves.
"""

from __future__ import annotations

_SUBMODULES = (
    "gitmodulesBlob", "gitmodulesLarge", "gitmodulesMissing", "gitmodulesName", "gitmodulesParse",
    "gitmodulesPath", "gitmodulesSymlink", "gitmodulesUpdate", "gitmodulesUrl",
)  # fmt: skip

_CHECKOUTS = (
    "gitattributesBlob", "gitattributesLarge", "gitattributesLineLength", "gitattributesMissing",
    "hasDot", "hasDotdot", "hasDotgit", "largePathname",
)  # fmt: skip

_IDENTITIES = (
    "badDate", "badDateOverflow", "badEmail", "badName", "badTimezone", "missingEmail",
    "missingNameBeforeEmail", "missingSpaceBeforeDate", "missingSpaceBeforeEmail", "zeroPaddedDate",
)  # fmt: skip

_TREES = ("nullSha1", "zeroPaddedFilemode")
"""One reading only. git accepts the null hash for a submodule, which is never read; a file of that
hash is a missing object, which the remote's own check refuses, and ours."""

ACCEPTED = {
    f"fetch.fsck.{message}": "ignore"
    for message in (*_SUBMODULES, *_CHECKOUTS, *_IDENTITIES, *_TREES)
}
"""git's configuration. A version that does not know a message only warns about it."""
