"""Our own comments on the forge: recognized by how they begin and by our account, because anybody can
copy the beginning. Nothing else remembers them, so that a restarted dispatcher edits them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol

from dispatcher.forge.records import Comment, User


class CommentBoard(Protocol):
    """The part of ``dispatcher.forge.ForgeApi`` that comments need."""

    def me(self) -> User: ...
    def comments(self, number: int) -> Iterable[Comment]: ...
    def add_comment(self, number: int, body: str) -> Comment: ...
    def edit_comment(self, comment: int, body: str) -> Comment: ...


class OwnComments:
    """Finds our comments of one repository. Not thread-safe."""

    def __init__(self, board: CommentBoard) -> None:
        self._board = board
        self._me: int | None = None

    def find(self, number: int, recognized: Callable[[str], bool]) -> Comment | None:
        """The first of our comments on an issue or request whose body is recognized.

        Raises:
            Unavailable, Denied: see ``ForgeApi``.
        """
        if self._me is None:
            self._me = self._board.me().id  # the login may change
        for comment in self._board.comments(number):
            own = comment.user is not None and comment.user.id == self._me
            if own and recognized(comment.body):
                return comment
        return None
