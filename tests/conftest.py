"""Shared fixtures, and the rule for suites whose server is missing.

A test marked ``@pytest.mark.needs("nomad", "docker")`` is skipped, loudly and with a list at the
end, where one of them is not on this machine; ``DISINTO_REQUIRE=nomad,docker`` turns those skips
into failures.

A test marked ``@pytest.mark.thorough`` takes long and proves in full what a short one proves in part.
It runs only with ``DISINTO_THOROUGH=1`` (``make test-thorough``), and is listed at the end without.
"""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING

import hypothesis
import pytest

from tests.servers import available, bao, forgejo, image, postgres
from tests.support.thorough import THOROUGH, tries

if TYPE_CHECKING:
    from tests.servers.nomad import Nomad


# A machine that is busy with other tests is no failure of a property.
hypothesis.settings.register_profile("disinto", deadline=None, max_examples=tries(25, 100))
hypothesis.settings.load_profile("disinto")


# A shell that starts the tests in the background has them ignore Ctrl-C, and all they start as well;
# several tests send it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def _required() -> set[str]:
    return {
        name.strip() for name in os.environ.get("DISINTO_REQUIRE", "").split(",") if name.strip()
    }


def pytest_runtest_setup(item: pytest.Item) -> None:
    if not THOROUGH and item.get_closest_marker("thorough"):
        pytest.skip("thorough: only with DISINTO_THOROUGH=1")
    for mark in item.iter_markers("needs"):
        for server in mark.args:
            reason = available.why_missing(server)
            if reason is None:
                continue
            if server in _required():
                pytest.fail(f"DISINTO_REQUIRE names {server}, but {reason}", pytrace=False)
            pytest.skip(f"needs {server}: {reason}")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    _list_thorough(terminalreporter)
    skipped = [r for r in terminalreporter.stats.get("skipped", []) if "needs " in str(r.longrepr)]
    if not skipped:
        return
    terminalreporter.section("live suites that did NOT run, because their server is missing")
    for report in skipped:
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        terminalreporter.line(f"{report.nodeid}: {reason}")
    terminalreporter.line("DISINTO_REQUIRE=nomad,docker,… turns these skips into failures.")


def _list_thorough(reporter: pytest.TerminalReporter) -> None:
    """The thorough tests that were left out, with the number of their cases."""
    skipped = (r for r in reporter.stats.get("skipped", []) if "thorough: " in str(r.longrepr))
    cases = Counter(report.nodeid.partition("[")[0] for report in skipped)
    if not cases:
        return
    reporter.section("thorough tests that did NOT run: make test-thorough runs them")
    for name, count in sorted(cases.items()):
        reporter.line(f"{name}: {count} cases" if count > 1 else name)


@pytest.fixture(scope="session")
def bao_server() -> Iterator[bao.Bao]:
    """One OpenBao dev server for the whole session, on a free loopback port."""
    with bao.serve() as server:
        yield server


@pytest.fixture
def vault(bao_server: bao.Bao) -> bao.Bao:
    """The session's OpenBao with a KV v2 mount of this test's own (``vault.kv_mount``)."""
    return bao_server.with_own_mount()


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[postgres.Postgres]:
    """One PostgreSQL cluster for the whole session, on a free loopback port."""
    with postgres.serve() as server:
        yield server


@pytest.fixture(scope="session")
def nomad() -> Iterator[Nomad]:
    """The Nomad of NOMAD_ADDR, else one agent for the whole session."""
    from tests.servers.nomad import serve

    with serve() as server:
        yield server


@pytest.fixture(scope="session")
def forge() -> Iterator[forgejo.Forgejo]:
    """One Forgejo for the whole session; each test makes users and repositories of its own."""
    with forgejo.serve() as server:
        yield server


@pytest.fixture(scope="session")
def runner_image() -> str:
    """Name of the runner's image, built from this checkout."""
    try:
        return image.build()
    except image.NoImage as error:
        if "docker" in _required():
            pytest.fail(f"DISINTO_REQUIRE names docker, but {error}", pytrace=False)
        pytest.skip(f"needs docker: {error}")
