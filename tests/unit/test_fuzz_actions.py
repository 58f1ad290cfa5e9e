"""Mutated action files: each is an action or is invalid with a place, never an exception.

``DISINTO_FUZZ_SEED`` and ``DISINTO_FUZZ_CASES`` choose another run; the seed of a failing case is
in the message.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable

from dispatcher.model.action import Action, InvalidAction, parse_action
from dispatcher.model.mounts import Mount
from tests.support.thorough import tries

SEED = int(os.environ.get("DISINTO_FUZZ_SEED", "20240229"))
CASES = int(os.environ.get("DISINTO_FUZZ_CASES") or tries(3_000, 20_000))

SEEDS = [
    b'id = "a"\nformula = "hello"\ncontext = "why"\nsecrets = []\n',
    b"""id = "a"
formula = "deploy"
context = '''
Release 1.4.2, \xc3\xbcber alles
'''
secrets = ["GITHUB_TOKEN", "B2"] # two
mounts = ["ssh", "gpg"]
model = "sonnet"
tools = ["Bash", "Read"]
timeout_minutes = 15
blast_radius = "high"
priority = -3
dispatch_mode = "direct"

[params]
size = "s-1vcpu"
disks = [1, 2.5, { fast = true }]
since = "2024-02-29"
""",
]

SPLICES = [
    b'"', b"'", b'"""', b"'''", b"[", b"]", b"{", b"}", b"=", b",", b".", b"#", b"\n", b"\r", b"\r\n",
    b"\x00", b"\xff", b"\xc3", b"\xef\xbb\xbf", b"\xff\xfe", b"\xed\xa0\x80", b"\\", b"\\u0000",
    b"\\ud800", b"\\U00110000", b"\\x00", b"\x1b[2J", "\u202e".encode(), "\U0001f4a3".encode(),
    b"../", b"inf", b"nan", b"-0", b"0x", b"1e999", b"9" * 5_000, b"0x" + b"f" * 400, b"_", b"true",
    b"2024-02-30", b"2024-02-29T25:61:61Z", b"[[a]]\n", b"[params]\n", b"a.b.c = 1\n", b"id = 1\n",
    b"secrets = []\n", b"params.size.x = 1\n", b"[" * 300, b"{a=" * 300, b"a." * 700,
    b'model = "' + b"x" * 300 + b'"\n', b'mounts = ["docker"]\n', b'secrets = ["PATH", "path"]\n', b'formula = "-rf"\n', b"x" * 70_000,
]  # fmt: skip


def flip(data: bytearray, rng: random.Random) -> None:
    for _ in range(rng.randint(1, 4)):
        if data:
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def splice(data: bytearray, rng: random.Random) -> None:
    at = rng.randint(0, len(data))
    data[at : at + rng.choice((0, 0, 1, 5))] = rng.choice(SPLICES)


def truncate(data: bytearray, rng: random.Random) -> None:
    del data[rng.randint(0, len(data)) :]


def repeat_line(data: bytearray, rng: random.Random) -> None:
    lines = bytes(data).split(b"\n")
    lines.insert(rng.randint(0, len(lines)), rng.choice(lines))
    data[:] = b"\n".join(lines)


def drop_line(data: bytearray, rng: random.Random) -> None:
    lines = bytes(data).split(b"\n")
    del lines[rng.randrange(len(lines))]
    data[:] = b"\n".join(lines)


def swap_values(data: bytearray, rng: random.Random) -> None:
    lines = [line.split(b"=", 1) for line in bytes(data).split(b"\n")]
    pairs = [line for line in lines if len(line) == 2]
    if len(pairs) >= 2:
        one, two = rng.sample(pairs, 2)
        one[1], two[1] = two[1], one[1]
    data[:] = b"\n".join(b"=".join(line) for line in lines)


def random_bytes(data: bytearray, rng: random.Random) -> None:
    at = rng.randint(0, len(data))
    data[at:at] = rng.randbytes(rng.randint(1, 30))


MUTATIONS: list[Callable[[bytearray, random.Random], None]] = [
    flip,
    splice,
    truncate,
    repeat_line,
    drop_line,
    swap_values,
    random_bytes,
]


def test_mutated_files_are_actions_or_invalid_with_a_place() -> None:
    valid = invalid = 0
    for case in range(CASES):
        rng = random.Random(f"{SEED}:{case}")
        data = bytearray(rng.choice(SEEDS))
        for _ in range(rng.randint(1, 3)):
            rng.choice(MUTATIONS)(data, rng)
        where = f"DISINTO_FUZZ_SEED={SEED} case {case}: {bytes(data[:200])!r}"
        try:
            parsed = parse_action(bytes(data), path="a.toml", stem="a")
        except Exception as error:
            raise AssertionError(f"{type(error).__name__}: {error} at {where}") from error
        if isinstance(parsed, InvalidAction):
            invalid += 1
            check_invalid(parsed, bytes(data), where)
        else:
            valid += 1
            check_valid(parsed, where)
    print(f"{CASES} mutated files: {valid} still valid, {invalid} invalid, each with a place")
    assert valid > CASES / 50, "the mutations leave nothing valid: they test too little"
    assert invalid > CASES / 2


def check_invalid(parsed: InvalidAction, data: bytes, where: str) -> None:
    lines = data.count(b"\n") + 1
    assert parsed.id == "a", where
    assert parsed.problems, where
    for problem in parsed.problems:
        assert problem.line is not None, where
        assert 1 <= problem.line <= lines, where
        assert (problem.column or 0) >= 1, where
        assert str(problem).isprintable(), where
        assert len(str(problem)) < 1_000, where
        assert "Traceback" not in str(problem), where


def check_valid(action: Action, where: str) -> None:
    assert action.id == "a", where
    assert all(isinstance(mount, Mount) for mount in action.mounts), where
    assert 1 <= action.timeout_minutes <= 10_080, where
