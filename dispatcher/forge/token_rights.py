"""What a token may write on the forge, asked without writing anything.

A token's scopes are listed only for its owner's password. But a forge checks a request in an order: the
token's scope, the account's rights, then the content. So a POST without content is rejected in any case
by an endpoint that requires a field, and the status says which check rejected it. Facts of Forgejo 7,
checked by a live test:

* 403 with a message that names the scope: the token lacks it.
* 403 with another message: the token has the scope, and its account may not write here.
* 422: it has both.
* 404: there is no such part, or the token does not see the repository: nothing that it could write.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from urllib.parse import quote

from dispatcher.forge.exchange import Exchange


class Part(StrEnum):
    """Parts of the API with a scope of their own, as far as they can be asked about harmlessly."""

    ISSUE = "issue"
    REPOSITORY = "repository"
    USER = "user"
    ORGANIZATION = "organization"
    ADMIN = "admin"


class Right(StrEnum):
    """What a token may do in one part."""

    NO_SCOPE = "no_scope"
    NO_RIGHT = "no_right"  # it has the scope, and its account may not write here
    WRITE = "write"


# Each requires a field: title, new_branch_name, name, username, email.
_PATHS = {
    Part.ISSUE: "{repository}/issues",
    Part.REPOSITORY: "{repository}/branches",
    Part.USER: "/user/repos",
    Part.ORGANIZATION: "/orgs",
    Part.ADMIN: "/admin/users",
}


def may_write(
    exchange: Exchange, repository: str, parts: Iterable[Part] = Part
) -> dict[Part, Right]:
    """What a token may write.

    Args:
        exchange: with the token.
        repository: ``owner/name``, to which it is asked.

    Raises:
        Unavailable: the forge does not answer.
        Denied: it rejects the token.
    """
    return {part: _right(exchange, repository, _PATHS[part]) for part in parts}


def may_label(exchange: Exchange, repository: str) -> Right:
    """Whether a token may change the labels of a repository's issues. Errors: see ``may_write``."""
    return _right(exchange, repository, "{repository}/labels")  # requires a name


def _right(exchange: Exchange, repository: str, path: str) -> Right:
    owner, _, name = repository.partition("/")
    place = f"/repos/{quote(owner, safe='')}/{quote(name, safe='')}"
    status, message = exchange.post_nothing(path.format(repository=place))
    if status == 403:
        return Right.NO_SCOPE if "scope" in message else Right.NO_RIGHT
    return Right.NO_SCOPE if status == 404 else Right.WRITE
