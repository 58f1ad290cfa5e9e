"""axe-core, which finds barriers in a page: the copy of the package ``axe-playwright-python``, of which
nothing else is used. ``pip install --no-deps --require-hashes -r requirements-axe.lock`` installs it.
"""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

PACKAGE = "axe_playwright_python"
GRAVE = ("serious", "critical")

_RUN = """
const done = arguments[arguments.length - 1];
axe.run(document, { resultTypes: ["violations"] }).then(
  (found) => done(found.violations.map((v) => ({
    id: v.id, impact: v.impact, help: v.help,
    nodes: v.nodes.slice(0, 5).map((n) => `${n.html.slice(0, 200)}: ${n.failureSummary}`),
  }))),
  (error) => done([{ id: "axe", impact: "critical", help: String(error), nodes: [] }]));
"""


def _file() -> Path | None:
    spec = find_spec(PACKAGE)
    folders = (spec.submodule_search_locations or ()) if spec is not None else ()
    return next((f for each in folders if (f := Path(each) / "axe.min.js").is_file()), None)


def why_missing() -> str | None:
    """Why there is none on this machine; None if there is."""
    return None if _file() else f"the package {PACKAGE.replace('_', '-')} is not installed"


@cache
def source() -> str:
    """The script."""
    file = _file()
    assert file is not None, why_missing()
    return file.read_text("utf-8")


def violations(driver: Chrome, script: str) -> list[dict[str, Any]]:
    """What is serious or critical on the page that a browser shows."""
    driver.execute_script(script)
    found = driver.execute_async_script(_RUN)
    return [each for each in found if each["impact"] in GRAVE]
