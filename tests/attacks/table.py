"""The table of attacks: who tries what, what must hold, and the test that proves it.

There is one TOML file per attacker. Most rows name their test. Those on approval name a scene, a function
of the file's module: ``tests/acceptance/test_attacks.py`` plays it, and compares its end with the
row. ``python -m tests.attacks > docs/attacks.md`` writes the page; ``tests/unit/test_attack_table.py``
compares it.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path

DIRECTORY = Path(__file__).parent

ATTACKERS = (
    "author_on_forge",
    "author_with_git",
    "approver_with_git",
    "pusher",
    "other_installation",
    "formula",
    "neighbour",
    "desktop",
    "stack",
    "release",
    "network",
    "issue_writer",
    "page",
)

ENDS = frozenset({"waiting", "refused", "invalid", "ignored"})
"""How an action may end in a scene: none of them is a run."""

INTRODUCTION = """\
# Attacks

What was tried against the dispatcher, and how it ends: to have an action run without the approval
that its tier requires, to have one run twice, to forge or suppress a result, and to reach secrets.
Each row is a test, named below `tests/`. This page is written from `tests/attacks/*.toml`, and a test
compares them. How the defences work is in [security.md](security.md) and [design.md](design.md).

*Waiting* and *refused* actions do not run and keep their id; *invalid* ones get a result that states
the reason; *ignored* files are not actions, and `status` warns about them. None of them runs.
"""


@dataclass(frozen=True, kw_only=True)
class Attack:
    """One row.

    Attributes:
        tries: what the attacker does.
        holds: what must hold, for the page.
        test: the test that proves it, as ``file::test`` or ``file::Class::test`` below ``tests/``.
    """

    tries: str
    holds: str
    test: str


@dataclass(frozen=True, kw_only=True)
class Scene(Attack):
    """A row on approval, which is proved by a scene.

    Attributes:
        name: of the scene and of its recording.
        ends: how the action ends, one of ``ENDS``.
        says: a part of the reason that the dispatcher gives.
    """

    name: str
    ends: str
    says: str


@dataclass(frozen=True, kw_only=True)
class Attacker:
    """Everything one attacker tries against one thing.

    Attributes:
        title: heading for the page.
        who: the attacker, and what they can do.
        about: a sentence for the page, or "".
        scenes: the module of the scenes, or "".
    """

    title: str
    who: str
    about: str
    scenes: str
    attacks: tuple[Attack, ...]

    def played(self) -> tuple[Scene, ...]:
        """The rows that are proved by scenes."""
        return tuple(attack for attack in self.attacks if isinstance(attack, Scene))


def load(name: str) -> Attacker:
    """The rows of one attacker.

    Raises:
        KeyError: a row lacks a field.
        ValueError: a row or the file has a field that is unknown.
    """
    table = tomllib.loads((DIRECTORY / f"{name}.toml").read_text(encoding="utf-8"))
    rows = table.pop("attack")
    attacker = Attacker(
        title=table.pop("title"),
        who=table.pop("who"),
        about=table.pop("about", ""),
        scenes=table.pop("scenes", ""),
        attacks=tuple(_scene(row, name) if "name" in row else _attack(row) for row in rows),
    )
    unknown = {*table, *(key for row in rows for key in row)}
    if unknown:
        raise ValueError(f"{name}.toml: unknown keys {sorted(unknown)}")
    return attacker


def _attack(row: dict[str, str]) -> Attack:
    return Attack(tries=row.pop("tries"), holds=row.pop("holds"), test=row.pop("test"))


def _scene(row: dict[str, str], attacker: str) -> Scene:
    name, ends = row.pop("name"), row.pop("ends")
    return Scene(
        tries=row.pop("tries"),
        holds=f"**{ends}**: {row.pop('because')}",
        test=f"acceptance/test_attacks.py::test_{attacker}[{name}]",
        name=name,
        ends=ends,
        says=row.pop("says"),
    )


TABLE = {name: load(name) for name in ATTACKERS}


def page() -> str:
    """The text of ``docs/attacks.md``."""
    return INTRODUCTION + "".join(_section(attacker) for attacker in TABLE.values())


def _section(attacker: Attacker) -> str:
    about = f" {attacker.about}" if attacker.about else ""
    head = f"\n## {attacker.title}\n\nBy {attacker.who}.{about}\n\n"
    rows = "".join(f"| {a.tries} | {a.holds} | `{a.test}` |\n" for a in attacker.attacks)
    return f"{head}| attack | what holds | test |\n|---|---|---|\n{rows}"
