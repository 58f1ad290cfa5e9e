"""The tutorial, run as it stands: every ``sh`` block in order, every ``text`` block compared.

A ``text`` block shows lines of what the ``sh`` block before it prints; ``…`` stands for anything.
Only the address of the vault is another one, since the usual one may be in use.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from dispatcher.devservers.ports import free_port

TUTORIAL = Path(__file__).parents[2] / "docs" / "tutorial.md"
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
MARK = "@@ end of block "


@dataclass
class Block:
    """Commands, and lines that they print."""

    commands: str
    expected: list[str] = field(default_factory=list)


def blocks() -> list[Block]:
    found: list[Block] = []
    for kind, text in FENCE.findall(TUTORIAL.read_text(encoding="utf-8")):
        if kind == "sh":
            found.append(Block(commands=text))
        elif kind == "text":
            found[-1].expected += text.splitlines()
    return found


def shown(line: str, output: list[str]) -> bool:
    pattern = ".*".join(map(re.escape, line.rstrip().split("…")))
    return any(re.fullmatch(pattern + r"\s*", printed) for printed in output)


@pytest.mark.needs("bao", "git", "ssh-keygen")
@pytest.mark.slow
def test_the_tutorial_does_what_it_says(tmp_path: Path) -> None:
    script = "".join(
        f'{block.commands}\necho "{MARK}{n} $?"\n' for n, block in enumerate(blocks())
    ).replace("127.0.0.1:8200", f"127.0.0.1:{free_port()}")
    environ = {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "HOME": str(tmp_path / "home"),
        "LANG": "C.UTF-8",
        "DISINTO_HTTP__LISTEN": f"127.0.0.1:{free_port()}",
        "GIT_CONFIG_NOSYSTEM": "1",
    }
    (tmp_path / "home").mkdir()
    (tmp_path / "work").mkdir()
    printed = tmp_path / "printed"
    with printed.open("wb") as sink:
        shell = subprocess.Popen(
            ["bash", "-c", script],
            cwd=tmp_path / "work",
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            shell.wait(timeout=240)
        finally:
            _end(shell.pid)
    _compare(printed.read_text(encoding="utf-8"))


def _compare(printed: str) -> None:
    parts = re.split(rf"^{re.escape(MARK)}(\d+) (\d+)\n", printed, flags=re.MULTILINE)
    outputs = {int(parts[i + 1]): (parts[i], parts[i + 2]) for i in range(0, len(parts) - 2, 3)}
    for number, block in enumerate(blocks()):
        assert number in outputs, f"{block.commands}\n-- did not end --\n{parts[-1]}"
        output, status = outputs[number]
        missing = [line for line in block.expected if not shown(line, output.splitlines())]
        assert not missing, f"{block.commands}\n-- printed --\n{output}\n-- not {missing}"
        assert status == "0", f"{block.commands}\n-- printed --\n{output}"


def _end(session: int) -> None:
    """End whatever the shell left; nothing, where all went well."""
    listed = subprocess.run(["ps", "-eo", "pid=,sess="], capture_output=True, text=True, check=True)
    for line in listed.stdout.splitlines():
        pid, owner = map(int, line.split())
        if owner == session and pid != os.getpid():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue


def test_every_command_of_the_tutorial_is_shown_with_what_it_prints() -> None:
    assert len(blocks()) > 10
    assert sum(bool(block.expected) for block in blocks()) > 10
