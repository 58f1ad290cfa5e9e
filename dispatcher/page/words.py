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

STACK_STATES: Mapping[str, str] = {
    "CREATING": mark("asked for"),
    "DEPLOYING": mark("being deployed"),
    "RUNNING": mark("running"),
    "UPDATING": mark("being updated"),
    "DESTROYING": mark("being destroyed"),
    "DESTROYED": mark("destroyed"),
    "FAILED": mark("not deployed"),
    "ABANDONED": mark("abandoned"),
    "UNKNOWN": mark("not believed"),
}

STACK_STAGES: Mapping[str, str] = {
    "initializing": mark("looking at what is there"),
    "creating-project": mark("making the project"),
    "creating-application": mark("making the application"),
    "configuring": mark("setting image, environment and volume"),
    "creating-domain": mark("giving it its address"),
    "deploying": mark("fetching and starting the image"),
    "health-check": mark("waiting for an answer"),
    "running": mark("running"),
    "failed": mark("failed"),
    "removing-domain": mark("removing its address"),
    "waiting-for-queue": mark("waiting for the server"),
    "removing-application": mark("removing the application"),
    "removing-project": mark("removing the project"),
    "removed": mark("removed"),
}

STACK_FAILURES: Mapping[str, str] = {
    "left": mark(
        "Something of it could not be removed. What the run said names it, and how to remove it."
    ),
    "name": mark("It cannot have this name. Choose another."),
    "taken": mark("The name is taken. Choose another."),
    "image": mark("The image needs a tag or a digest, such as :1.2 at its end."),
    "settings": mark("Stacks are not set up completely here. Show the operator what the run said."),
    "secret": mark("It was to get a secret that it cannot have. Check the names of its secrets."),
    "environment": mark(
        "The server cannot store a value of its environment as it is. Write it otherwise."
    ),
    "key": mark(
        "The server did not accept the key that the operator gave. Nothing that you entered is wrong: show the operator "
        "what the run said."
    ),
    "pull": mark(
        "The server could not fetch the image. Check its name and tag, and that it can be pulled without a login."
    ),
    "queue": mark(
        "The server is busy with something that does not end. Tell the operator, and try again later."
    ),
    "crash": mark(
        "The image was started, and its program ended at once. It may lack a variable or a secret."
    ),
    "unreachable": mark(
        "It was started, but its address leads nowhere. The operator has to point the domain at the server."
    ),
    "no_answer": mark(
        "It was started, but answered nothing in time. Does it listen on the port that you gave?"
    ),
    "value": mark("The server refused a value. What the run said names it."),
    "server": mark(
        "The server did not answer, or did not do what it was asked for. Try again later."
    ),
    "late": mark("It took too long. Try again; if it happens again, tell the operator."),
    "stopped": mark("It was cancelled."),
    "vanished": mark(
        "Its run was lost, and nobody knows how far it came. Something may be left at the server."
    ),
    "not_begun": mark("Its run never began. The reason is beside its action."),
    "other": mark("It failed. What the run said may show why."),
}
"""What is said to each kind of failure, in plain words."""

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

STACK_TONES: Mapping[str, str] = {
    "CREATING": ACTIVE,
    "DEPLOYING": ACTIVE,
    "RUNNING": GOOD,
    "UPDATING": ACTIVE,
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
        "stack_word": STACK_STATES,
        "stack_stage_word": STACK_STAGES,
        "stack_failure": STACK_FAILURES,
    }
    made: dict[str, Callable[[str | None], str]] = {
        name: _word(language, table) for name, table in tables.items()
    }
    made["tone"] = lambda term: TONES.get(term or "", QUIET)
    made["desktop_tone"] = lambda term: DESKTOP_TONES.get(term or "", QUIET)
    made["stack_tone"] = lambda term: STACK_TONES.get(term or "", QUIET)
    return made


def _word(language: Language, table: Mapping[str, str]) -> Callable[[str | None], str]:
    return lambda term: language.text(table.get(term or "", term or ""))
