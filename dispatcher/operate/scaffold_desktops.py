"""What ``disinto init --with desktops`` writes in addition: formulas, and what these need.

::

    DIR/formulas                   desktop, desktop-destroy and desktop-reap, each with its schema
    DIR/formulas/desktop-apps.json, desktop-settings.json     the catalogue of apps, and their settings
    DIR/policy.toml, disinto.toml  tiers, job class, and the secret that Vault derives for a desktop
"""

from __future__ import annotations

from pathlib import Path

from dispatcher.desktop.credentials import VARIABLE
from dispatcher.host import resources
from dispatcher.model.paths import FORMULAS_PATH
from dispatcher.operate.desktops import CREATE, DESTROY, REAP
from dispatcher.operate.scaffold_settings import add_to_table

CLASS = "provision"
TRANSIT_KEY = "disinto-desktops"
_SOURCE = "actions/desktop"


def write(folder: Path) -> list[str]:
    """Write the files into a directory that ``scaffold`` filled.

    Returns:
        What is new, relative to the directory.
    """
    written = []
    for name in sorted(resources.names(f"{_SOURCE}/{FORMULAS_PATH}")):
        file = f"{FORMULAS_PATH}/{Path(name).name}"
        (folder / file).write_text(resources.text(name))
        written.append(file)
    with (folder / "policy.toml").open("a") as policy:
        policy.write(resources.text(f"{_SOURCE}/policy.toml"))
    settings = folder / "disinto.toml"
    add_to_table(settings, "classes", dict.fromkeys((CREATE, DESTROY, REAP), CLASS))
    add_to_table(settings, "derived", {VARIABLE: TRANSIT_KEY})
    return written
