"""The checks of ``disinto doctor`` for desktops: what their formulas need. Nothing is asked of the provider."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from pathlib import Path

from dispatcher.decide.policy import Policy
from dispatcher.decide.tiers import effective_tier
from dispatcher.desktop.apps import CATALOGUE_FILE, read_catalogue
from dispatcher.desktop.cloud import TOKEN
from dispatcher.desktop.credentials import VARIABLE
from dispatcher.desktop.params import SETTINGS_FILE, parse_settings
from dispatcher.errors import DisintoError
from dispatcher.model.action import Action
from dispatcher.model.checks import Check, looked
from dispatcher.model.paths import FORMULAS_PATH
from dispatcher.model.run import Tier
from dispatcher.operate.desktops import CREATE, DESTROY, REAP
from dispatcher.operate.scaffold_desktops import CLASS, TRANSIT_KEY
from dispatcher.provision.params import read_beside
from dispatcher.settings import GateKind, Settings
from dispatcher.toml.explain import did_you_mean

FORMULAS = (CREATE, DESTROY, REAP)
_FILES = (*(f"{name}.schema.json" for name in FORMULAS), CATALOGUE_FILE, SETTINGS_FILE)
_TRUSTED = {CREATE: (TOKEN, VARIABLE), DESTROY: (TOKEN, VARIABLE), REAP: (TOKEN,)}


def check_desktops(
    settings: Settings,
    policy: Callable[[], Policy],
    listed: Callable[[str], Collection[str]],
    secrets: Callable[[], Collection[str]] | None,
) -> Iterator[Check]:
    """Whether a desktop can be created, opened and destroyed. Nothing if there is no such formula, and
    nothing in the settings looks as if there should be one.

    Args:
        listed: names of the files in a directory of the ops repo.
        secrets: names of the secrets that are stored; None if that cannot be seen from here.
    """
    folder = settings.formulas.path
    own = {path.name for path in folder.iterdir()} if folder and folder.is_dir() else set[str]()
    files = own | set(listed(FORMULAS_PATH))
    wanted = VARIABLE in settings.vault.derived or set(FORMULAS) & settings.formulas.classes.keys()
    if f"{CREATE}.sh" not in files and not wanted:
        return
    place = folder or Path(FORMULAS_PATH)
    missing = [
        name for name in (*(f"{each}.sh" for each in FORMULAS), *_FILES) if name not in files
    ]
    yield Check(
        name="desktops",
        ok=not missing,
        detail=f"{place} lacks {', '.join(missing)}" if missing else "all formulas and their files",
        remedy=f"Copy them from actions/desktop/formulas of disinto to {place}." if missing else "",
    )
    yield from _contents(folder, own)
    yield from _classes(settings)
    yield from _derived(settings)
    if secrets is not None:
        yield from looked(f"desktops: {TOKEN}", lambda: [_token(secrets())])
    yield from _tiers(settings, policy())


def _contents(folder: Path | None, own: Collection[str]) -> Iterator[Check]:
    """Whether the operator's own settings and catalogue can be read."""
    for name, read in ((SETTINGS_FILE, parse_settings), (CATALOGUE_FILE, read_catalogue)):
        if folder is None or name not in own:
            continue
        try:
            read(read_beside(folder / name) or b"")
        except DisintoError as error:
            remedy = error.remedy or f"Correct {folder / name}."
            yield Check(name=f"desktops: {name}", ok=False, detail=error.what, remedy=remedy)


def _classes(settings: Settings) -> Iterator[Check]:
    others = [name for name in FORMULAS if settings.formulas.classes.get(name) != CLASS]
    if others:
        near = [did_you_mean(each, FORMULAS) for each in sorted(settings.formulas.classes)]
        hint = next((each for each in near if each), "")
        yield Check(
            name="desktops: job class",
            ok=False,
            detail=f"{', '.join(others)} are not in the job class {CLASS}, which gives a run that is "
            "cancelled the time to remove its machine",
            remedy=f'Set [formulas.classes] {others[0]} = "{CLASS}", and so on. {hint}'.rstrip(),
        )


def _derived(settings: Settings) -> Iterator[Check]:
    if VARIABLE not in settings.vault.derived:
        hint = did_you_mean(VARIABLE, sorted(settings.vault.derived)) or ""
        yield Check(
            name=f"desktops: {VARIABLE}",
            ok=False,
            detail=f"[vault.derived] lacks {VARIABLE}, so desktops would have no credentials",
            remedy=f'Set [vault.derived] {VARIABLE} = "{TRANSIT_KEY}", and run `disinto apply`. {hint}'.rstrip(),
        )


def _token(stored: Collection[str]) -> Check:
    there = TOKEN in stored
    hint = did_you_mean(TOKEN, sorted(stored)) or ""
    return Check(
        name=f"desktops: {TOKEN}",
        ok=there,
        detail="stored" if there else "the provider's API token is not stored",
        remedy="" if there else f"Store it: disinto secrets put {TOKEN}. {hint}".rstrip(),
    )


def _tiers(settings: Settings, policy: Policy) -> Iterator[Check]:
    """Whether somebody can approve them, and whether their secrets raise their tier."""
    waiting = [name for name in FORMULAS if policy.formula_tier(name) is not Tier.LOW]
    if waiting and settings.policy.gate is GateKind.NONE:
        yield Check(
            name="desktops: gate",
            ok=True,
            detail=f"actions with {', '.join(waiting)} wait forever: no gate is configured",
            remedy="Set [policy] gate, or make the formulas low in policy.toml.",
        )
    for name in FORMULAS:
        action = Action(id=name, formula=name, context="", secrets=_TRUSTED[name])
        decided = effective_tier(policy, action)
        if decided.raised:
            yield Check(
                name=f"desktops: tier of {name}",
                ok=True,
                detail=decided.reason,
                remedy=f"Name its secrets in [formulas.{name}] secrets of policy.toml.",
            )
