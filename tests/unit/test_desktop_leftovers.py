"""What is left when a provider does one thing and not the other, or when a run is ended while it cleans up."""

from __future__ import annotations

from contextlib import suppress

import httpx
import pytest

from dispatcher.desktop.cloud import CloudUnclear
from dispatcher.desktop.destroy import Removal, StillThere
from dispatcher.desktop.digitalocean import Connection, DigitalOcean
from dispatcher.provision.waiting import Cancelled
from tests.servers.cloud import TOKEN
from tests.support.desktops import TAGS, Desktops, FakeClock, Killed, Recorder, Steps


class Account:
    """Machines with the tag of all, by number; those that are locked are not deleted.

    Attributes:
        total: that its lists name; None for what they have.
    """

    def __init__(self, *numbers: int, locked: int = 0) -> None:
        self.there, self.locked = set(numbers), locked
        self.total: int | None = None

    def adapter(self) -> DigitalOcean:
        transport = httpx.MockTransport(self._answer)
        return DigitalOcean(Connection(TOKEN, transport=transport), now=lambda: 1000.0)

    def _answer(self, request: httpx.Request) -> httpx.Response:
        number = request.url.path.rpartition("/")[2]
        if request.method == "DELETE":
            if int(number) == self.locked:
                return httpx.Response(422, json={"message": "Droplet already has a pending event."})
            self.there.discard(int(number))
            return httpx.Response(204)
        made = [
            {"id": each, "name": "x", "status": "active", "tags": [TAGS.all], "created_at": "2026-01-01T00:00:00Z"}
            for each in sorted(self.there)
        ]  # fmt: skip
        page = made if request.url.params["page"] == "1" else []
        total = len(made) if self.total is None else self.total
        return httpx.Response(200, json={"droplets": page, "meta": {"total": total}})


def removal(account: Account) -> Removal:
    return Removal(account.adapter(), FakeClock(), Recorder(), tag=TAGS.all)


def test_one_machine_that_is_locked_keeps_no_other_from_being_deleted() -> None:
    """Each is billed."""
    account = Account(1, 2, 3, locked=1)
    with pytest.raises(StillThere, match="does not delete droplet 1 yet: Droplet already has"):
        removal(account).run()
    assert account.there == {1}
    account.locked = 0
    removal(account).run()
    assert account.there == set()


def test_a_list_without_what_its_total_names_is_no_empty_list() -> None:
    account = Account()
    account.total = 1
    with pytest.raises(CloudUnclear, match="has 0 of 1 entries"):
        account.adapter().tagged(TAGS.all)
    with pytest.raises(StillThere):
        removal(account).run()
    account.total = 0
    assert account.adapter().tagged(TAGS.all) == []


def killed() -> Desktops:
    """An account with the machine of a run that nobody remembers."""
    desktops = Desktops()
    with pytest.raises(Killed):
        desktops.create("one", steps=Steps(kill_at=9), outputs_lost=True)
    assert len(desktops.billed) == 1
    return desktops


def test_a_run_that_is_cancelled_while_it_removes_an_earlier_machine_makes_none() -> None:
    steps = Steps()
    killed().create("one", steps=steps)
    before = 0
    for number in range(steps.count + 1):
        desktops = killed()
        made = desktops.cloud.created
        with suppress(Cancelled):
            desktops.create("one", steps=Steps(cancel_at=number))
            continue
        assert desktops.billed == desktops.entered == set(), number
        before += desktops.cloud.created == made
    assert before, "no run was cancelled before it made a machine"


def test_an_earlier_machine_that_cannot_be_removed_is_named() -> None:
    desktops = killed()
    desktops.cloud.gone_after_s = 10_000
    with pytest.raises(StillThere):
        desktops.create("one")
    assert desktops.inventory["one"]["run_key"]
    assert desktops.cloud.created == 1
