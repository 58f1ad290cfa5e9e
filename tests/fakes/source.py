"""A source that wants what a test says."""

from __future__ import annotations

from dataclasses import dataclass, field

from dispatcher.sources import Look, SourceNote, SourceState, Wanted, Wants

DEFINITION = "vault/schedules/one.toml"


def wish(action_id: str, *, formula: str = "hello", blob: str = "", **more: object) -> Wanted:
    return Wanted(
        action_id=action_id,
        action={"formula": formula, "context": "c", "secrets": [], **more},
        name="one",
        occasion=action_id,
        definition=DEFINITION if blob else "",
        blob=blob,
    )


@dataclass
class Wishes:
    """Wants each wish until it is noted in its mark: one source, ``one``."""

    wishes: list[Wanted] = field(default_factory=list)
    looks: list[Look] = field(default_factory=list)
    marked: bool = True
    kind: str = "wish"
    ended: tuple[str, ...] = ()

    def look(self, look: Look) -> Wants:
        self.looks.append(look)
        done = int(look.marks.get("one", "0"))
        note = SourceNote(kind=self.kind, name="one", state=SourceState.ACTIVE)
        return Wants(
            actions=tuple(self.wishes[done:]),
            marks={"one": str(len(self.wishes))} if self.marked else {},
            notes=(note,),
            ended=self.ended,
        )
