"""What the engine in use does not apply of the job classes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from dispatcher.engines import registry
from dispatcher.model.checks import Check
from dispatcher.settings import Settings
from dispatcher.settings.jobs import RESOURCES, class_names, class_settings


def ignored(settings: Settings) -> Mapping[str, tuple[str, ...]]:
    """Keys of the settings' tables that the engine ignores, by class; only classes with such keys."""
    applied = registry.get(settings.scheduler).class_keys
    keys = {
        name: tuple(k for k in RESOURCES if k in table.model_fields_set and k not in applied)
        for name, table in sorted(settings.jobs.items())
    }
    return {name: names for name, names in keys.items() if names}


def class_warnings(settings: Settings) -> tuple[str, ...]:
    """One sentence for each class of which the engine ignores a key."""
    title = registry.get(settings.scheduler).title
    return tuple(
        f"{title} ignores {', '.join(keys)} of the job class {name}. Remove them from "
        f"[jobs.{name}], or use an engine that applies them."
        for name, keys in ignored(settings).items()
    )


def check_classes(settings: Settings) -> Iterator[Check]:
    """One check for each class in use but ``runner``, for ``doctor``."""
    title, left_out = registry.get(settings.scheduler).title, ignored(settings)
    for name in class_names(settings)[1:]:
        of_class = sorted(f for f, c in settings.formulas.classes.items() if c == name)
        mounts = ", ".join(class_settings(settings, name).mounts) or "none"
        detail = f"formulas: {', '.join(of_class) or 'none'}; mounts: {mounts}"
        keys = left_out.get(name, ())
        yield Check(
            name=f"job class {name}",
            ok=True,
            detail=f"{detail}; {title} ignores {', '.join(keys)}" if keys else detail,
            remedy=f"Remove them from [jobs.{name}], or use an engine that applies them."
            if keys
            else "",
        )
