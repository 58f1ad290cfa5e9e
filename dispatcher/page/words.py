"""The words that the page shows for the terms of the records, as messages to translate.

A term without a word is shown as it is. A test compares each table with its enum.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from dispatcher.model.verdicts import Verdict
from dispatcher.page.language import Language, mark

STATES: Mapping[str, str] = {
    "waiting": mark("waiting"),
    "starting": mark("starting"),
    "pending": mark("placing"),
    "running": mark("running"),
    "ended": mark("ended"),
    "proposed": mark("proposed"),
    "approved": mark("approved"),
    "open": mark("open"),
    "finished": mark("finished"),
}

VERDICTS: Mapping[str, str] = {v.value: v.value.replace("_", " ") for v in Verdict}
"""Derived, so that a new verdict fails the test of translations, and nothing else."""

TIERS: Mapping[str, str] = {
    "low": mark("low"),
    "medium": mark("medium"),
    "high": mark("high"),
}

WAITING_FOR: Mapping[str, str] = {
    "approval": mark("approval"),
    "refusal": mark("refusal withdrawn"),
    "place": mark("a place"),
    "dependency": mark("a dependency"),
    "engine": mark("the engine"),
    "lock": mark("a lock"),
    "time": mark("its time"),
    "freeze": mark("the end of a freeze"),
    "after": mark("another action"),
    "turn": mark("its turn"),
}

DEPENDENCIES: Mapping[str, str] = {
    "remote": mark("git remote"),
    "vault": mark("Vault"),
    "engine": mark("engine"),
    "ledger": mark("ledger"),
    "forge": mark("forge"),
    "lead": mark("lead"),
}

DESKTOP_STATES: Mapping[str, str] = {
    "CREATING": mark("asked for"),
    "PROVISIONING": mark("getting a machine"),
    "CONFIGURING": mark("being set up"),
    "ACTIVE": mark("active"),
    "ERROR": mark("error"),
    "DESTROYING": mark("being destroyed"),
    "DESTROYED": mark("destroyed"),
    "FAILED": mark("not created"),
    "ABANDONED": mark("abandoned"),
    "UNKNOWN": mark("not believed"),
}

DESKTOP_STAGES: Mapping[str, str] = {
    "provisioning-droplet": mark("asking for a machine"),
    "waiting-for-ip": mark("waiting for its address"),
    "installing-packages": mark("installing packages"),
    "starting-guacamole": mark("starting Guacamole"),
    "configuring-https": mark("setting up HTTPS"),
    "final-health-check": mark("last check"),
    "active": mark("active"),
    "deleting-droplet": mark("deleting the machine"),
    "waiting-until-gone": mark("waiting until it is gone"),
    "destroyed": mark("destroyed"),
}

GOOD, BAD, CAUTION, ACTIVE, QUIET = "good", "bad", "caution", "active", "quiet"

_BY_COLOUR = {"green": GOOD, "red": BAD, "yellow": CAUTION}
TONES: Mapping[str, str] = {
    **{v.value: _BY_COLOUR.get(v.colour, QUIET) for v in Verdict},
    "starting": ACTIVE,
    "pending": ACTIVE,
    "running": ACTIVE,
}
"""How a state or a verdict looks; all others are quiet. Never by the colour alone: the word is there."""

DESKTOP_TONES: Mapping[str, str] = {
    "CREATING": ACTIVE,
    "PROVISIONING": ACTIVE,
    "CONFIGURING": ACTIVE,
    "ACTIVE": GOOD,
    "ERROR": BAD,
    "DESTROYING": CAUTION,
    "FAILED": BAD,
    "ABANDONED": BAD,
    "UNKNOWN": CAUTION,
}


def filters(language: Language) -> dict[str, Callable[[str | None], str]]:
    """Filters of the templates, by name: the word for a term in a language."""
    tables = {
        "state_word": STATES,
        "verdict_word": VERDICTS,
        "tier_word": TIERS,
        "waiting_word": WAITING_FOR,
        "dependency_word": DEPENDENCIES,
        "desktop_word": DESKTOP_STATES,
        "stage_word": DESKTOP_STAGES,
    }
    made: dict[str, Callable[[str | None], str]] = {
        name: _word(language, table) for name, table in tables.items()
    }
    made["tone"] = lambda term: TONES.get(term or "", QUIET)
    made["desktop_tone"] = lambda term: DESKTOP_TONES.get(term or "", QUIET)
    return made


def _word(language: Language, table: Mapping[str, str]) -> Callable[[str | None], str]:
    return lambda term: language.text(table.get(term or "", term or ""))
