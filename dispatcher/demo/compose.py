"""``python -m dispatcher.demo.compose``: the step ``set-up`` of ``compose.yaml``.

Waits for OpenBao and Nomad, creates an ops repo with settings if there is none, applies them,
and leaves the tokens of dispatcher and page in files beside the settings. Running it again changes
nothing but the tokens: servers that lose their data at each start are set up again.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

from dispatcher.assembly import open_settings
from dispatcher.devservers import nomad, openbao
from dispatcher.devservers.set_up import page_tokens, set_up
from dispatcher.errors import DisintoError, Exit, Misconfigured
from dispatcher.operate.scaffold import scaffold

TOKEN_FILES: Mapping[str, str] = {"VAULT_TOKEN": "vault.token", "NOMAD_TOKEN": "nomad.token"}
PAGE = "page."
"""Begins the names of the web page's token files."""


def main(folder: Path, environ: Mapping[str, str]) -> None:
    """Set everything up.

    Args:
        folder: for settings, ops repo and tokens.
        environ: VAULT_ADDR, VAULT_TOKEN, NOMAD_ADDR and NOMAD_TOKEN of an operator; and what
            overrides the settings.
    """
    missing = [
        name for name in ("VAULT_ADDR", "NOMAD_ADDR", "NOMAD_TOKEN") if not environ.get(name)
    ]
    server = nomad.given(environ)
    if missing or server is None:
        raise Misconfigured(f"{' and '.join(missing)} must be set")
    openbao.wait_until_healthy(environ["VAULT_ADDR"])
    nomad.bootstrap(server)
    config = folder / "disinto.toml"
    if not config.exists():
        scaffold(folder)
    settings = open_settings(config, environ)
    own = set_up(settings, operator=environ, nomad=server)
    of_page = page_tokens(settings, operator=environ, nomad=server)
    for prefix, tokens in (("", own), (PAGE, of_page)):
        for name, token in tokens.items():
            file = folder / f"{prefix}{TOKEN_FILES[name]}"
            file.unlink(missing_ok=True)
            file.touch(mode=0o600)
            file.write_text(token)
    print(f"set up: {folder}", flush=True)  # noqa: T201 - for `docker compose logs`


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]), os.environ)
    except DisintoError as error:
        print(f"disinto: {error}", file=sys.stderr)  # noqa: T201
        sys.exit(error.exit_code)
    sys.exit(Exit.OK)
