"""What ``disinto init --with sidecars`` writes in addition: rules, formulas, and what these need.

::

    DIR/sidecars.toml                          the standard rules, without a project
    DIR/formulas                               their formulas, each with its schema
    DIR/mounts                                 directories of their job class, for the local engine
    DIR/policy.toml, disinto.toml              make them low, and assign them to the class
    projects/app.toml, in the ops repo         a project's description to begin with
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from dispatcher.host import resources
from dispatcher.model.mounts import Mount
from dispatcher.model.paths import FORMULAS_PATH
from dispatcher.operate.scaffold_settings import add_to_table, replace_lines
from dispatcher.ops_repo import NewFile

SIDECARS = "sidecars.toml"
CLASS = "sidecar"
_SOURCE = "actions/sidecars"
_MOUNTS = "mounts"
_AGENT = '["./agent/issue-agent", "--", "claude", "-p", "--model", "{model}", "--allowedTools", "{tools}"]'


def repository() -> list[NewFile]:
    """The files that the first commit of the ops repo has in addition."""
    source = resources.path(f"{_SOURCE}/repo")
    return [
        NewFile(path=path.relative_to(source).as_posix(), data=path.read_bytes())
        for path in sorted(source.rglob("*.toml"))
    ]


def write(folder: Path, *, bare: str) -> list[str]:
    """Write the files into a directory that ``scaffold`` filled.

    Args:
        bare: name of the ops repo in this directory; "" if it is elsewhere.

    Returns:
        What is new, relative to the directory.
    """
    written = [SIDECARS]
    (folder / SIDECARS).write_text(resources.text(f"{_SOURCE}/{SIDECARS}"))
    for name in sorted(resources.names(f"{_SOURCE}/{FORMULAS_PATH}")):
        file = f"{FORMULAS_PATH}/{Path(name).name}"
        (folder / file).write_text(resources.text(name))
        written.append(file)
    with (folder / "policy.toml").open("a") as policy:
        policy.write(resources.text(f"{_SOURCE}/policy.toml"))
    mounts = {m: f"{_MOUNTS}/{m}" for m in Mount if m.sidecar}
    if bare:
        mounts[Mount.OPS_REPO] = bare
    for place in mounts.values():
        if place != bare:
            (folder / place).mkdir(parents=True)
            written.append(f"{place}/")
    _settings(folder / "disinto.toml", mounts)
    return written


def _settings(file: Path, mounts: Mapping[Mount, str]) -> None:
    """Set what is known, and prepare what waits for [forge] url and for an agent."""
    formulas = (n.removesuffix(".toml") for n in resources.names(f"{_SOURCE}/{FORMULAS_PATH}"))
    names = sorted(Path(name).name for name in formulas if not name.endswith(".json"))
    offered = ", ".join(f'{mount} = "{place}"' for mount, place in mounts.items())
    add_to_table(file, "classes", dict.fromkeys(names, CLASS))
    replace_lines(
        file,
        {
            '#mounts = {}   # for example { ssh = "/srv/disinto/ssh" }': f"mounts = {{ {offered} }}",
            "#command = []": f"# For sidecars:\n#command = {_AGENT}",
            '#file = ""': f'# Set [forge] url first, then remove the #.\n#file = "{SIDECARS}"',
        },
    )
