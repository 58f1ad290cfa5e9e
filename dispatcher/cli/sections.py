"""Parts of files that list mounts, verdicts, exit codes or job classes, rendered from their entries.

Such a part lies between a line with ``NAME: rendered by make docs`` and one with ``end of NAME``,
both comments of the file; it is written by ``python -m dispatcher.cli.reference``. A file that needs
a list of its own gets an entry in ``SECTIONS``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from dispatcher.cli.help import OTHERS
from dispatcher.engines.nomad.render import host_volumes
from dispatcher.errors import Exit
from dispatcher.model.mounts import HOME, Mount
from dispatcher.model.notice import Condition
from dispatcher.model.verdicts import Verdict
from dispatcher.release import reference as release_reference
from dispatcher.settings.jobs import BUILT_IN

VOLUMES = "/srv/disinto/volumes"
"""Where ``compose.yaml`` keeps the directories of mounts on the machine."""


def verdict_table() -> str:
    """Markdown: every verdict with meaning and exit code."""
    rows = ((f"`{v}`", v.meaning, _code(v)) for v in Verdict)
    return _table(("verdict", "meaning", "exit code of `disinto dispatch`"), rows)


def mount_table() -> str:
    """Markdown: every mount with its place below ``HOME``."""
    rows = (
        (f"`{m}`", f"`{m.place}`", "read-only" if m.read_only else "writable", m.meaning)
        for m in Mount
    )
    return _table(("mount", "place", "", "for"), rows)


def job_class_table() -> str:
    """Markdown: the built-in job classes with what they have of their own."""
    rows = (
        (
            f"`{name}`",
            str(keys.cpu_mhz or "as `[nomad]`"),
            str(keys.memory_mb or "as `[nomad]`"),
            ", ".join(f"`{m}`" + ("" if m.read_only else " (writable)") for m in keys.mounts)
            or "none",
            "no" if keys.fixed_mounts else "yes",
            ", ".join(f"`{key}`" for key in keys.meta),
        )
        for name, keys in BUILT_IN.items()
    )
    heads = ("class", "CPU, MHz", "memory, MiB", "mounts", "actions may name more", "meta")
    return _table(heads, rows)


def condition_table() -> str:
    """Markdown: the conditions of notifications; the verdicts, which are conditions too, in one row."""
    verdicts = (
        ", ".join(f"`{v}`" for v in Verdict),
        "an action ended with this verdict ([actions.md](../actions.md))",
    )
    others = [(f"`{c}`", c.meaning) for c in Condition if c.value not in set(Verdict)]
    return _table(("`on`", "when"), [others[0], verdicts, *others[1:]])


def exit_code_table() -> str:
    """Markdown: the exit codes of every command."""
    meanings = {code.value: code.meaning for code in Exit} | OTHERS
    return _table(("code", "meaning"), ((str(code), text) for code, text in meanings.items()))


def image_directories() -> str:
    """Of the Dockerfile: the user, and the directories that mounts appear in."""
    places = " ".join(mount.place for mount in Mount)
    private = " ".join(mount.place for mount in Mount if mount.private)
    return (
        "RUN useradd --uid 1000 --user-group --create-home --shell /bin/bash agent; \\\n"
        f"    cd {HOME}; \\\n"
        f"    mkdir -p {places}; \\\n"
        f"    chmod 0700 {private}; \\\n"
        f"    chown -R agent:agent {HOME}\n"
    )


def volume_directories() -> str:
    """Of ``compose.yaml``: the beginning of the loop that makes the directories."""
    return f"        for volume in {' '.join(Mount)}; do\n"


SECTIONS: Mapping[str, Mapping[str, Callable[[], str]]] = {
    "docs/actions.md": {"mounts": mount_table, "verdicts": verdict_table},
    "docs/controls/notifications.md": {"conditions": condition_table},
    "docs/jobs.md": {"job classes": job_class_table},
    "docs/operations.md": {"exit codes": exit_code_table},
    "docs/releases.md": {
        "release.toml": release_reference.reference,
        "outcomes": release_reference.outcomes,
    },
    "Dockerfile": {"mounts": image_directories},
    "compose.yaml": {"mounts": volume_directories},
    "jobs/compose/nomad.hcl": {"mounts": lambda: host_volumes(base=VOLUMES)},
}
"""By path below the checkout: the parts of each file."""


def renewed(path: str, text: str) -> str:
    """The text of a file with its parts rendered anew.

    Raises:
        ValueError: a part's marks are missing, or there more than once.
    """
    for name, render in SECTIONS[path].items():
        lines = text.splitlines(keepends=True)
        begins = [n for n, line in enumerate(lines) if f" {name}: rendered by make docs" in line]
        ends = [n for n, line in enumerate(lines) if f" end of {name}" in line]
        if len(begins) != 1 or len(ends) != 1:
            raise ValueError(f"{path} needs one part {name!r} with a mark before and after it")
        text = "".join([*lines[: begins[0] + 1], render(), *lines[ends[0] :]])
    return text


def files(checkout: Path) -> dict[Path, str]:
    """The files with such parts, by path, as they should be."""
    return {
        checkout / path: renewed(path, (checkout / path).read_text(encoding="utf-8"))
        for path in SECTIONS
    }


def _code(verdict: Verdict) -> str:
    own = verdict.own_code and not verdict.success
    return f"the formula's own, or {verdict.exit_code}" if own else str(verdict.exit_code)


def _table(heads: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    head = [f"| {' | '.join(heads)} |"]
    lines = [*head, "|---" * (head[0].count("|") - 1) + "|"]
    lines += [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join(["", *lines, "", ""])
