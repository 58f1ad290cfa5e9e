"""``disinto schema``: the JSON Schemas, so that editors complete and check."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dispatcher.cli.console import emit
from dispatcher.cli.options import config_option
from dispatcher.cli.session import Session

if TYPE_CHECKING:
    from dispatcher.schemas import FormulaSchema

KINDS = ("action", "result", "settings", "policy", "sidecars", "schedule")


@click.command("schema")
@click.argument("kind", type=click.Choice(KINDS))
@click.option("--formula", metavar="NAME", help="Of an action of this formula, params included.")
@config_option
@click.pass_obj
def command(session: Session, kind: str, formula: str | None) -> None:
    """Print the JSON Schema of an action, a result, the settings, the policy, a schedule or sidecars.toml.

    Editors with the Taplo or Even Better TOML extension complete and check a file that names it:

    \b
      disinto schema action > action.schema.json
      #:schema ../../action.schema.json      (first line of an action file)

    With --formula, [params] is described by the schema beside the formula: of the operator's
    directory, or of the ops repo (the checkout here, or the clone of serve).
    """
    from dispatcher.operate.schema import schema

    if formula is None:
        emit(schema(kind))
        return
    if kind != "action":
        raise click.UsageError("--formula goes with the schema of an action")
    emit(_combined(session, formula))


def _combined(session: Session, formula: str) -> dict[str, Any]:
    from dispatcher.operate.schema import schema
    from dispatcher.schemas.combined import combined

    return combined(schema("action"), formula, _schema_of(session, formula))


def _schema_of(session: Session, formula: str) -> FormulaSchema:
    from dispatcher.cli.validate import known_names
    from dispatcher.operate.params_check import schema_named
    from dispatcher.operate.preflight import formula_finder

    names = known_names(session, online=False)
    find = formula_finder(Path("action.toml"), names)
    known = sorted({*(names.formulas or ()), *(names.repo_formulas or ())})
    return schema_named(formula, find=find, known=known)
