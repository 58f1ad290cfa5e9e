"""``disinto schema``: the JSON Schemas, so that editors complete and check."""

from __future__ import annotations

import click

from dispatcher.cli.console import emit

KINDS = ("action", "result", "settings", "policy", "sidecars")


@click.command("schema")
@click.argument("kind", type=click.Choice(KINDS))
def command(kind: str) -> None:
    """Print the JSON Schema of an action, a result, the settings, the policy or the sidecars' file.

    Editors with the Taplo or Even Better TOML extension complete and check a file that names it:

    \b
      disinto schema action > action.schema.json
      #:schema ../../action.schema.json      (first line of an action file)
    """
    from dispatcher.operate.schema import schema

    emit(schema(kind))
