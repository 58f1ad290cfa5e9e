"""``x-disinto`` in the schema of a formula: what the formula does to the inventory, what it reads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from dispatcher.model.formula_files import FILE_ENDINGS, is_formula_file
from dispatcher.model.inventory import Change, Declaration
from dispatcher.model.names import is_id
from dispatcher.toml.explain import did_you_mean, one_of
from dispatcher.toml.source import quoted

MAX_FILES = 20
"""Files that one formula may read."""

_KEYS = ("creates", "updates", "destroys", "destroyed_by", "given", "files")


@dataclass(frozen=True, kw_only=True, slots=True)
class Declared:
    """The content of ``x-disinto``.

    Attributes:
        inventory: what a run does to the inventory; None for nothing.
        given: keys of the entry that are params of the run that destroys it, in order.
        files: names of the files beside the formula that it reads, in order.
    """

    inventory: Declaration | None = None
    given: tuple[str, ...] = ()
    files: tuple[str, ...] = ()


def read_declared(value: object) -> Declared | list[str]:
    """What ``x-disinto`` declares, or everything that is wrong with it, in words."""
    if value is None:
        return Declared()
    if not isinstance(value, Mapping):
        return ['"x-disinto" must be an object']
    wrong = [
        f'unknown key {quoted(str(key))} in "x-disinto". '
        f"{did_you_mean(str(key), _KEYS) or 'Known here: ' + ', '.join(_KEYS)}"
        for key in value
        if key not in _KEYS
    ]
    inventory = _inventory(value, wrong)
    given = _given(value, wrong)
    files = _files(value.get("files", []), wrong)
    return wrong or Declared(inventory=inventory, given=given, files=files)


def _inventory(value: Mapping[str, object], wrong: list[str]) -> Declaration | None:
    changes = [change for change in Change if change in value]
    destroyed_by = value.get("destroyed_by", "")
    if len(changes) > 1:
        wrong.append(f'"x-disinto" may have one of {one_of(list(Change))}, not {len(changes)}')
        return None
    if "destroyed_by" in value:
        if not isinstance(destroyed_by, str) or not is_id(destroyed_by):
            wrong.append('"destroyed_by" must be the name of a formula')
            return None
        if changes not in ([Change.CREATES], [Change.UPDATES]):
            wrong.append('"destroyed_by" goes with "creates" or "updates"')
            return None
    if not changes:
        return None
    kind = value[changes[0]]
    if not isinstance(kind, str) or not is_id(kind):
        wrong.append(
            f'"{changes[0]}" must be a kind of the inventory: lower-case letters, digits and hyphens'
        )
        return None
    return Declaration(change=changes[0], kind=kind, destroyed_by=str(destroyed_by))


def _given(value: Mapping[str, object], wrong: list[str]) -> tuple[str, ...]:
    given = value.get("given", [])
    if not isinstance(given, list) or not all(isinstance(key, str) for key in given):
        wrong.append('"given" must be a list of keys of the entry')
        return ()
    if given and (Change.DESTROYS not in value or "id" in given):
        wrong.append('"given" goes with "destroys", and does not name "id", which is always given')
    return tuple(given)


def _files(value: object, wrong: list[str]) -> tuple[str, ...]:
    if not isinstance(value, list) or len(value) > MAX_FILES:
        wrong.append(f'"files" must be a list of at most {MAX_FILES} file names')
        return ()
    wrong.extend(
        f'"files" must name files beside the formula: an id and one of '
        f"{', '.join(FILE_ENDINGS)}, not {quoted(str(name))}"
        for name in value
        if not isinstance(name, str) or not is_formula_file(name)
    )
    return tuple(sorted({name for name in value if isinstance(name, str)}))
