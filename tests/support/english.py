"""Phrases that must not come back: ``python -m tests.support.english``, part of ``make check``.

Reads every tracked text that a user or a contributor reads: strings, docstrings and comments of
Python files, the documentation, and the templates and configuration that are shipped. Each finding
is printed as ``file:line: "phrase": write "better phrase"``; the exit code is 1 if there is any.
"""

import io
import re
import subprocess
import sys
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

_DETERMINER = (
    r"(?:an?|the|its|own|same|state|home|working|current|empty|new|this|that|each|every|no|of)"
)
_PER = r"one (?:policy|line|call|job|record|name|object|file) an? (?:secret|run|line|action|stream)"
_SERVER = (
    r"(?:it|Vault|Nomad|vault|remote|forge|gate|engine|ledger|server|repo|repository|which|that)"
)

#: A phrase (a regular expression that matches no good English), and what to write instead.
INSTEAD: dict[str, str] = {
    rf"{_DETERMINER} folders?": "directory",
    r"is no key of": "unknown key",
    r"is no (?:JSON|directory|regular file|commit here|DSSE envelope)": "is not a …",
    r"has not been told|nobody can be asked": "does not have; is not a terminal",
    r"as many as may be": "the maximum",
    r"for ever": "forever; only once",
    r"log-ins?": "login",
    r"by case alone": "only in case",
    _PER: "per",
    r"for a place": "for placement",
    r"(?:is|are|was|were|be) tried again": "retried",
    r"refused us|lacks the right": "permission denied",
    rf"{_SERVER} (?:cannot|could not) be asked": "is unavailable",
    r"had no hand in": "must not have contributed to",
    r"author\\?'s desk": "author client",
    r"(?:None|True|False|\"\") where": "if",
}

_PATTERNS = {re.compile(rf"(?<!\w)(?:{bad})(?!\w)"): better for bad, better in INSTEAD.items()}

_TEXTS = {".md", ".txt", ".toml", ".j2", ".hcl", ".yml", ".service", ".html", ".sh"}

#: What was released, texts that are compared byte by byte, and the list itself.
_EXCLUDED = ("CHANGELOG.md", "vault/", "tests/support/english.py", "tests/unit/test_english.py")


@dataclass(frozen=True, kw_only=True)
class Finding:
    """A phrase, and where it is."""

    file: str
    line: int
    phrase: str
    better: str

    def __str__(self) -> str:
        return f'{self.file}:{self.line}: "{self.phrase}": write "{self.better}"'


def findings(file: str, text: str) -> Iterator[Finding]:
    """The phrases in a file, except in placeholders of f-strings and in ``code``."""
    for first, passage in _passages(file, text):
        prose = re.sub(r"\{[^{}\n]*\}|``[^`]*``", _blanked, passage)
        for pattern, better in _PATTERNS.items():
            for match in pattern.finditer(prose):
                line = first + prose.count("\n", 0, match.start())
                yield Finding(file=file, line=line, phrase=match[0], better=better)


def _blanked(code: re.Match[str]) -> str:
    """As long, and on as many lines, so that places stay right."""
    return re.sub(r"[^\n]", " ", code[0])


def _passages(file: str, text: str) -> Iterator[tuple[int, str]]:
    if not file.endswith(".py"):
        yield 1, text
        return
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type in (tokenize.STRING, tokenize.COMMENT):
            yield token.start[0], token.string


def tracked() -> Iterator[str]:
    """The files that are read."""
    listed = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout
    for file in listed.splitlines():
        if Path(file).suffix in {".py", *_TEXTS} and not file.startswith(_EXCLUDED):
            yield file


def main() -> int:
    """Print what is found; 1 if there is anything."""
    found = [
        finding
        for file in tracked()
        if (ROOT / file).is_file()
        for finding in findings(file, (ROOT / file).read_text(encoding="utf-8"))
    ]
    for finding in found:
        print(finding)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
