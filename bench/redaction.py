"""How fast output passes the redactor: ``python -m bench.redaction``.

Beside it: the same bytes through the same loop without redaction, and through an alternation of
the standard library's regular expressions with the same patterns (on less data; it is slow).
"""

from __future__ import annotations

import base64
import random
import re
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from bench.figures import Figure
from bench.stage import Stage
from dispatcher.runner.forms import forms
from dispatcher.runner.redact import Redactor, Secrets

SECRETS = 20
GOAL_MB_S = 100
CHUNK = 256 * 1024
MEGABYTES = 200
REPEATS = 3


def secret_values(rng: random.Random) -> dict[str, bytes]:
    """Eighteen tokens, a password with special characters, and a private key of 40 lines."""
    values = {f"TOKEN_{n}": base64.b64encode(rng.randbytes(30)) for n in range(SECRETS - 2)}
    values["PASSWORD"] = b'p@ss\'word with "quotes" & more/less'
    lines = [base64.b64encode(rng.randbytes(48)) for _ in range(38)]
    values["KEY"] = b"\n".join([b"-----BEGIN KEY-----", *lines, b"-----END KEY-----"])
    return values


def log_text(rng: random.Random, size: int, secrets: list[bytes]) -> bytes:
    """Lines as programs write them; one in a thousand holds a secret."""
    lines = []
    length = 0
    while length < min(size, 8 * 1024 * 1024):
        line = b"2026-01-01T%02d:00:00Z INFO worker/%d: GET /api/v1/items/%d took %d ms\n" % (
            rng.randrange(24), rng.randrange(99), rng.randrange(10**6), rng.randrange(5000),
        )  # fmt: skip
        if rng.randrange(1000) == 0:
            line = line[:-1] + b" token=" + rng.choice(secrets) + b"\n"
        lines.append(line)
        length += len(line)
    block = b"".join(lines)
    return (block * (size // len(block) + 1))[:size]


def chunks(data: bytes, size: int) -> Iterator[bytes]:
    for at in range(0, len(data), size):
        yield data[at : at + size]


def wrapped_text(text: bytes) -> bytes:
    """The same in base64 at 76 columns: every secret in it is broken over lines."""
    return base64.encodebytes(text[: len(text) * 3 // 4])


def rate(data: bytes, work: Callable[[bytes], bytes], size: int = CHUNK) -> float:
    """Megabytes a second of CPU time, the middle one of a few."""
    rates = []
    for _ in range(REPEATS):
        begun = time.thread_time()
        for chunk in chunks(data, size):
            work(chunk)
        rates.append(len(data) / 1e6 / (time.thread_time() - begun))
    return statistics.median(rates)


@dataclass(frozen=True, kw_only=True)
class Speeds:
    """Megabytes a second of CPU time.

    Attributes:
        forms: patterns that are looked for.
        ready_ms: to make the redactor.
        passing: the same loop without redaction.
        redacting: by size of the pieces.
        wrapped: the same in base64 at 76 columns, pieces of 64 KiB.
        alternation: of the standard library's regular expressions, without borders.
    """

    forms: int
    ready_ms: float
    passing: float
    redacting: dict[int, float]
    wrapped: float
    alternation: float


def speeds(megabytes: int = MEGABYTES) -> Speeds:
    """Measure all of them on one text."""
    rng = random.Random(1)
    values = secret_values(rng)
    begun = time.perf_counter()
    secrets = Secrets(values)
    built = time.perf_counter() - begun
    patterns = sorted({form for value in values.values() for form in forms(value)})
    data = log_text(rng, megabytes * 1_000_000, list(values.values()))
    alternation = re.compile(b"|".join(map(re.escape, sorted(patterns, key=len, reverse=True))))
    return Speeds(
        forms=len(patterns),
        ready_ms=built * 1000,
        passing=rate(data, lambda chunk: b"" + chunk[:1] + chunk[1:]),
        redacting={n: rate(data, Redactor(secrets).feed, n) for n in (CHUNK, 64 * 1024, 4096)},
        wrapped=rate(wrapped_text(data), Redactor(secrets).feed, 64 * 1024),
        alternation=rate(data[:1_000_000], lambda chunk: alternation.sub(b"[redacted]", chunk)),
    )


def measure(_stage: Stage) -> list[Figure]:
    """The rate with pieces of 64 KiB, as a full pipe gives them."""
    rates = speeds(60)
    read = rates.redacting[64 * 1024]
    return [
        Figure(
            name="redaction",
            what=f"redaction of {SECRETS} secrets ({rates.forms} forms), pieces of 64 KiB",
            goal=f"over {GOAL_MB_S} MB a second of CPU time",
            measured=(
                f"{read:.0f} MB/s ({rates.redacting[4096]:.0f} MB/s in pieces of 4 KiB; "
                f"{rates.wrapped:.0f} MB/s of base64 wrapped at 76 columns; regular expressions: "
                f"{rates.alternation:.1f} MB/s)"
            ),
            reached=read > GOAL_MB_S,
            values={
                "mb_per_s": read,
                "wrapped_mb_per_s": rates.wrapped,
                "regular_expressions_mb_per_s": rates.alternation,
            },
        )
    ]


def main() -> None:
    rates = speeds()
    print(f"{SECRETS} secrets, {rates.forms} forms, made ready in {rates.ready_ms:.0f} ms")
    print(f"{'passing through':<34}{rates.passing:>10.0f} MB/s")
    for size, speed in rates.redacting.items():
        label = f"redacting, pieces of {size // 1024} KiB"
        print(f"{label:<34}{speed:>10.0f} MB/s{speed / rates.passing:>9.2f} of passing through")
    print(f"{'base64 wrapped at 76 columns':<34}{rates.wrapped:>10.0f} MB/s")
    print(f"{'re alternation, no chunk borders':<34}{rates.alternation:>10.1f} MB/s")


if __name__ == "__main__":
    main()
