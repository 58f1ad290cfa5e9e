"""Somebody hostile with push rights: forged, deleted and pre-placed results, rewritten history, refs
and names made to be in the way, and edits of what waits.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from contextlib import suppress

from tests.soak.stage import Stage, action

ACTIONS = "vault/actions"
JUNK_REFS = (
    "refs/disinto/seen/x",
    "refs/disinto/lead/x",
    "refs/heads/refs/heads/main",
    "refs/tags/refs/heads/main",
    "refs/heads/refs/disinto/seen",
    "refs/disinto/head",
    "refs/notes/commits",
)


class Pusher:
    """Does one deed at a time; a deed that loses a race, or finds the remote away, is given up."""

    def __init__(self, stage: Stage, dice: random.Random) -> None:
        self._stage, self._dice = stage, dice
        self._deeds: tuple[Callable[[], None], ...] = (
            self.forge,
            self.forge_and_delete,
            self.delete_result,
            self.spoil_result,
            self.rewind,
            self.junk_ref,
            self.sweep_refs,
            self.strange_names,
            self.edit_waiting,
            self.write_lead,
            self.write_seen,
        )

    def act(self) -> None:
        """One deed."""
        deed = self._dice.choice(self._deeds)
        with suppress(AssertionError, OSError):
            deed()
            self._stage.counted(f"pusher: {deed.__name__}")

    def forge(self) -> None:
        """A result for an action that has none, before or while it runs."""
        if (name := self._open()) is not None:
            self._stage.attacked.add(name)
            self._commit({f"{ACTIONS}/{name}.result.json": self._result(name)})

    def forge_and_delete(self) -> None:
        """A result for an action that nobody approves, gone in the next commit: so that the
        dispatcher might put it back under its own name.
        """
        if (name := self._open(only="danger")) is not None:
            self._stage.attacked.add(name)
            path = f"{ACTIONS}/{name}.result.json"
            self._commit({path: self._result(name)})
            self._commit({}, remove=[path])

    def delete_result(self) -> None:
        if (path := self._some_result()) is not None:
            self._stage.attacked.add(_id(path))
            self._commit({}, remove=[path])

    def spoil_result(self) -> None:
        """Another verdict in a genuine result."""
        if (path := self._some_result()) is not None:
            text = self._stage.remote.git("cat-file", "blob", f"main:{path}")
            self._stage.attacked.add(_id(path))
            self._commit({path: text.replace("failed", "succeeded").encode() + b" "})

    def rewind(self) -> None:
        """Take the last commits back, whatever they brought."""
        remote = self._stage.remote
        head, back = remote.head, self._dice.randint(1, 3)
        before = set(self._names())
        remote.git("update-ref", "refs/heads/main", f"main~{back}", head)
        self._stage.attacked |= {_id(name) for name in before - set(self._names())}

    def junk_ref(self) -> None:
        remote = self._stage.remote
        remote.git("update-ref", self._dice.choice(JUNK_REFS), remote.head)

    def sweep_refs(self) -> None:
        """Remove every ref that is no branch of the repository's own."""
        remote = self._stage.remote
        for ref in remote.git("for-each-ref", "--format=%(refname)").splitlines():
            if ref != "refs/heads/main":
                with suppress(AssertionError):
                    remote.git("update-ref", "-d", ref)

    def strange_names(self) -> None:
        odd = ("\udcff", "x" * 245, "UPPER", "a\x1b[2Jb", "..x", "-x", "é")
        name = self._dice.choice(odd)
        ending = self._dice.choice((".toml", ".result.json"))
        self._commit({f"{ACTIONS}/{name}{ending}"[: 250 + len(ACTIONS)]: b"strange"})

    def edit_waiting(self) -> None:
        """Two at once, in one commit that adds none."""
        waiting = [n for n, f in self._stage.formulas.items() if f == "danger"]
        names = self._dice.sample(waiting, min(2, len(waiting)))
        there = set(self._names())
        files = {
            f"{ACTIONS}/{name}.toml": action(
                name, "danger", mount=False, context=f"edit {self._dice.random()}"
            ).encode()
            for name in names
            if f"{ACTIONS}/{name}.toml" in there
        }
        if files:
            self._stage.attacked.update(names)
            self._commit(files)

    def write_lead(self) -> None:
        remote = self._stage.remote
        remote.git("update-ref", "refs/disinto/lead", remote.head)

    def write_seen(self) -> None:
        """What was seen, as it was some commits ago."""
        self._stage.remote.git("update-ref", "refs/disinto/seen", "main~2")

    def _names(self) -> list[str]:
        listed = self._stage.remote.git("ls-tree", "-r", "-z", "--name-only", "main", "--", "vault")
        return listed.split("\0")

    def _open(self, *, only: str = "") -> str | None:
        names = set(self._names())
        waiting = [
            name
            for name, formula in self._stage.formulas.items()
            if f"{ACTIONS}/{name}.toml" in names
            and f"{ACTIONS}/{name}.result.json" not in names
            and only in ("", formula)
        ]
        return self._dice.choice(waiting) if waiting else None

    def _some_result(self) -> str | None:
        found = [n for n in self._names() if _id(n) in self._stage.formulas and ".result." in n]
        return self._dice.choice(found) if found else None

    def _result(self, name: str) -> bytes:
        forged = {
            "id": name, "verdict": "succeeded", "exit_code": 0,
            "timestamp": "2026-01-01T00:00:00.000Z", "approved_by": ["ada@example.org"],
        }  # fmt: skip
        return json.dumps(forged).encode()

    def _commit(self, files: dict[str, bytes], *, remove: list[str] | None = None) -> None:
        """Push one commit; somebody else may be faster."""
        remote = self._stage.remote
        head = remote.head
        draft = remote.commit(files, remove=remove or (), parents=[head], branch="draft")
        remote.git("update-ref", "refs/heads/main", draft, head)


def _id(path: str) -> str:
    return path.rpartition("/")[2].removesuffix(".toml").removesuffix(".result.json")
