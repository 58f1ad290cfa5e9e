"""The script that stands where an agent's command goes."""

from __future__ import annotations

import subprocess

from dispatcher.host import resources


def test_it_says_what_it_was_asked() -> None:
    script = resources.path("actions/agent/example-agent.sh")
    done = subprocess.run(
        [str(script), "--model", "sonnet"],
        input="Do this\nand that",
        env={"PATH": "/usr/bin:/bin", "DISINTO_MODEL": "sonnet"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines() == [
        "model: sonnet",
        "tools: none",
        "arguments: --model sonnet",
        "asked, 16 characters:",
        "  | Do this",
        "  | and that",
    ]
