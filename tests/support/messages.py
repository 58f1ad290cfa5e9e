"""The messages of the page, as its templates and its code have them.

``python -m tests.support.messages`` prints what a language still lacks, as entries for its catalogue:
fill them in, and put them into a ``.po`` file of ``dispatcher/page/locale/<code>``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from babel.messages.extract import extract_from_file
from jinja2 import Environment, nodes

from dispatcher.page import words
from dispatcher.page.language import NAMES, SOURCE, catalog
from dispatcher.page.rendering import TEMPLATES

PACKAGE = TEMPLATES.parent
Message = str | tuple[str, str]
_KEYWORDS = {"_": None, "gettext": None, "ngettext": (1, 2), "mark": None, "plural": (1, 2)}
_JINJA = {"trim_blocks": "true", "lstrip_blocks": "true"}


def messages() -> dict[Message, list[str]]:
    """Each message, with the files that have it."""
    found: dict[Message, list[str]] = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        for _line, message, _comments, _context in extract_from_file(
            "python", str(path), keywords=_KEYWORDS
        ):
            _note(found, message, path)
    for path in sorted(TEMPLATES.glob("*.html")):
        for _line, message, _comments, _context in extract_from_file(
            "jinja2.ext:babel_extract", str(path), keywords=_KEYWORDS, options=_JINJA
        ):
            _note(found, message, path)
    for word in words.VERDICTS.values():
        _note(found, word, PACKAGE / "words.py")
    return found


def missing(code: str) -> dict[Message, list[str]]:
    """The messages that a language lacks, or whose translation is empty or marked as fuzzy."""
    have = catalog(code)
    lacking = {}
    for message, places in messages().items():
        entry = have.get(message)
        strings = entry.string if entry is not None else ""
        whole = all(strings) if isinstance(strings, tuple) else bool(strings)
        if entry is None or entry.fuzzy or not whole:
            lacking[message] = places
    return lacking


def unmarked(path: Path) -> list[str]:
    """Texts of a template that no ``_()`` marks: between tags, or in attributes that people read."""
    tree = Environment(autoescape=True, extensions=["jinja2.ext.i18n"]).parse(
        path.read_text("utf-8")
    )
    html = "".join(_html(tree))
    html = re.sub(r"<!doctype[^>]*>", "", html)
    html = re.sub(r'<(\w+)[^>]*translate="no"[^>]*>[^<]*</\1>', "", html)
    attributes = re.findall(r'(?:aria-label|title|alt|placeholder)="([^"]*)"', html)
    between = re.findall(r">([^<>]*)<", f">{re.sub(r'<title>.*?</title>', '', html)}<")
    return [text.strip() for text in (*attributes, *between) if re.search(r"[^\W\d_]{2,}", text)]


def _html(node: nodes.Node) -> Iterator[str]:
    """What a template has besides its expressions, each of which becomes a mark without letters."""
    for output in node.find_all(nodes.Output):
        for part in output.nodes:
            yield part.data if isinstance(part, nodes.TemplateData) else "\u2026"


def _note(found: dict[Message, list[str]], message: object, path: Path) -> None:
    if isinstance(message, list | tuple):
        parts = tuple(part for part in message if isinstance(part, str))
        key: Message = parts if len(parts) > 1 else parts[0]  # type: ignore[assignment]
    else:
        key = str(message)
    found.setdefault(key, []).append(str(path.relative_to(PACKAGE)))


def main() -> None:
    """Print what is missing."""
    from babel.messages.plurals import get_plural

    for code in NAMES:
        if code == SOURCE:
            continue
        print(f"# {code}")
        forms = get_plural(code).num_plurals
        for message, places in missing(code).items():
            print(f"#: {' '.join(sorted(set(places)))}")
            if isinstance(message, str):
                print(f"msgid {_quoted(message)}\nmsgstr {_quoted('')}\n")
                continue
            print(f"msgid {_quoted(message[0])}\nmsgid_plural {_quoted(message[1])}")
            print("\n".join(f"msgstr[{n}] {_quoted('')}" for n in range(forms)) + "\n")


def _quoted(text: str) -> str:
    from babel.messages.pofile import normalize

    return normalize(text)


if __name__ == "__main__":
    main()
