"""Making and removing desktops on a fake account: exactly one machine, or none."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

import pytest

from dispatcher.desktop.cloud import CloudBusy, CloudRefused, CloudUnclear
from dispatcher.desktop.create import NoDesktop
from dispatcher.desktop.credentials import Credentials
from dispatcher.desktop.destroy import StillThere
from dispatcher.desktop.lifecycle import Stage
from dispatcher.provision.confidential import Confidential
from dispatcher.provision.waiting import Cancelled
from tests.servers.cloud import FakeCloud, Fault
from tests.support.desktops import Desktops, Killed, Steps


def slow() -> FakeCloud:
    """A provider that is late with everything."""
    return FakeCloud(
        known_after_s=8, listed_after_s=15, active_after_s=25, ip_after_s=40, gone_after_s=10
    )


def test_a_desktop_is_made_and_removed() -> None:
    desktops = Desktops()
    run = desktops.create("one")
    assert list(dict.fromkeys(run.stages)) == [
        Stage.PROVISIONING_DROPLET, Stage.WAITING_FOR_IP, Stage.INSTALLING_PACKAGES, Stage.ACTIVE,
    ]  # fmt: skip
    entry = desktops.inventory["one"]
    assert entry["ip"].startswith("198.51.100.")
    assert entry["probe"] == [f"https://{entry['ip']}/"]
    assert entry["state"] == "ACTIVE"
    assert desktops.billed == desktops.entered == {entry["droplet_id"]}
    desktops.destroy("one")
    assert desktops.billed == set()
    assert desktops.inventory == {}
    assert "gone already" in desktops.destroy("one").said[-1]


@pytest.mark.parametrize("fault", [Fault.REFUSED, Fault.BURST, Fault.HOURLY])
def test_what_was_certainly_not_done_is_asked_again(fault: Fault) -> None:
    desktops = Desktops()
    desktops.cloud.faults["POST"] = [fault, fault]
    desktops.create("one")
    assert desktops.cloud.created == 1
    assert desktops.billed == desktops.entered


@pytest.mark.parametrize("fault", [Fault.LOST_AFTER, Fault.ERROR_AFTER, Fault.GARBAGE])
def test_an_unclear_answer_is_cleared_up_by_the_tag(fault: Fault) -> None:
    desktops = Desktops(slow())
    desktops.cloud.faults["POST"] = [fault]
    desktops.create("one")
    assert desktops.cloud.created == 1
    assert desktops.billed == desktops.entered
    assert len(desktops.billed) == 1


@pytest.mark.parametrize("fault", [Fault.LOST_BEFORE, Fault.ERROR_BEFORE])
def test_an_unclear_answer_is_never_followed_by_another_request(fault: Fault) -> None:
    desktops = Desktops()
    desktops.cloud.faults["POST"] = [fault]
    with pytest.raises(CloudUnclear):
        desktops.create("one")
    assert [method for method, _ in desktops.cloud.requests].count("POST") == 1
    assert desktops.inventory == {}


def test_a_new_id_that_is_unknown_is_not_gone() -> None:
    desktops = Desktops(slow())
    desktops.create("one")
    assert desktops.cloud.created == 1
    assert any(target.startswith("/v2/droplets?") for _, target in desktops.cloud.requests[2:])


def test_a_refusal_leaves_nothing() -> None:
    desktops = Desktops()
    desktops.cloud.limit = 0
    with pytest.raises(CloudRefused, match="droplet limit of 0 is reached"):
        desktops.create("one")
    assert (desktops.billed, desktops.inventory) == (set(), {})


def test_a_provider_that_is_down_ends_it() -> None:
    desktops = Desktops()
    desktops.cloud.faults["GET"] = [Fault.REFUSED] * 100
    with pytest.raises(CloudBusy):
        desktops.create("one")
    assert desktops.cloud.created == 0


def test_a_rate_limit_of_an_hour_costs_no_machine() -> None:
    desktops = Desktops()
    desktops.cloud.faults["GET"] = [None, *[Fault.HOURLY] * 40]  # 20 minutes of 30 s each
    desktops.create("one")
    assert desktops.billed == desktops.entered
    desktops.cloud.faults["GET"] = [Fault.HOURLY] * 15
    desktops.destroy("one")
    assert desktops.billed == set()


def test_a_machine_that_becomes_no_desktop_is_removed() -> None:
    desktops = Desktops()
    with pytest.raises(
        NoDesktop, match=r"20 minutes(?s:.*)its end:\n  E: broken\nthe machine was removed"
    ):
        desktops.create("one", ready_after_s=None)
    assert (desktops.billed, desktops.inventory) == (set(), {})


def test_apps_that_could_not_be_installed_are_named_and_nothing_else_that_a_machine_names() -> None:
    desktops = Desktops()
    run = desktops.create("one", apps=("gimp", "git"), apps_failed=("gimp", "\x1b[2J", "vscode"))
    assert desktops.inventory["one"]["apps_failed"] == ["gimp"]
    assert "these apps could not be installed: gimp" in run.said
    assert "apps_failed" not in desktops.create("two", apps=("git",)).left["inventory"]  # type: ignore[index]


@pytest.mark.parametrize("tail", [
    ("vncpasswd Canary_8",), ("vncpasswd Cana", "ry_8 (1)"), ("8_yranaC",), ("key=63616e617279 2d6b65792d6f", "662d3136"),
])  # fmt: skip
def test_a_machines_log_does_not_bring_its_credentials_into_the_result(
    tail: tuple[str, ...],
) -> None:
    own = Credentials(vnc_password="Canary_8", guacamole_key=b"canary-key-of-16", key_version=1)
    with pytest.raises(NoDesktop) as caught:
        Desktops().create(
            "one", ready_after_s=None, log_tail=tail, confidential=Confidential(own.values())
        )
    assert "not shown, because it repeats a credential" in str(caught.value)
    assert not any(line in str(caught.value) for line in tail)


def test_a_machine_that_is_kept_is_entered() -> None:
    desktops = Desktops()
    with pytest.raises(NoDesktop, match="kept until it expires, and is billed") as caught:
        desktops.create("one", ready_after_s=None, keep_on_error=True)
    assert "E: broken" not in str(caught.value)  # its credentials still open it
    assert desktops.billed == desktops.entered
    assert desktops.inventory["one"]["state"] == "ERROR"
    desktops.destroy("one")
    assert desktops.billed == set()


def test_an_earlier_machine_of_the_same_run_is_replaced() -> None:
    desktops = Desktops()
    with pytest.raises(Killed):
        desktops.create("one", steps=Steps(kill_at=9), outputs_lost=True)
    assert len(desktops.billed) == 1
    desktops.create("one")
    assert desktops.billed == desktops.entered


@pytest.mark.parametrize("cloud", [FakeCloud, slow])
def test_a_request_that_appears_late_after_a_cancellation_is_found(
    cloud: Callable[[], FakeCloud],
) -> None:
    desktops = Desktops(cloud())
    desktops.cloud.listed_after_s = 40
    desktops.cloud.faults["POST"] = [Fault.LOST_AFTER]
    with pytest.raises(Cancelled):
        desktops.create("one", steps=Steps(cancel_at=7))
    assert desktops.billed == set()


def test_a_removal_that_cannot_be_verified_fails_and_leaves_the_entry() -> None:
    desktops = Desktops()
    desktops.create("one")
    desktops.cloud.gone_after_s = 10_000
    with pytest.raises(StillThere, match="still lists"):
        desktops.destroy("one")
    assert "one" in desktops.inventory


def test_sessions_that_cannot_be_ended_delay_nothing() -> None:
    from dispatcher.desktop.destroy import destroy
    from tests.support.desktops import TAGS, Recorder

    def broken(_: str) -> None:
        raise RuntimeError("gateway down")

    desktops, recorder = Desktops(), Recorder()
    desktops.create("one")
    destroy(
        "one", cloud=desktops.adapter(Steps()), clock=desktops.clock, reporter=recorder,
        tags=TAGS, end_sessions=broken,
    )  # fmt: skip
    assert desktops.billed == set()
    assert "gateway down" in recorder.said[0]
    assert recorder.left == {"inventory": {"id": "one"}}


def boundaries(cloud: Callable[[], FakeCloud], **run: object) -> int:
    steps = Steps()
    Desktops(cloud()).create("one", steps=steps, **run)  # type: ignore[arg-type]
    return steps.count


@pytest.mark.parametrize("cloud", [FakeCloud, slow])
@pytest.mark.parametrize("lost", [False, True])
def test_a_kill_at_any_boundary_leaves_at_most_one_machine_that_can_be_found(
    cloud: Callable[[], FakeCloud], lost: bool
) -> None:
    for number in range(1, boundaries(cloud) + 1):
        desktops = Desktops(cloud())
        with pytest.raises(Killed):
            desktops.create("one", steps=Steps(kill_at=number), outputs_lost=lost)
        assert len(desktops.billed) <= 1, number
        if desktops.billed and not lost:
            assert "one" in desktops.inventory, number
        desktops.wait(3600)
        desktops.reap()
        if lost:
            assert desktops.billed == set(), number
        else:
            assert desktops.entered <= desktops.billed, number
            desktops.destroy("one")
            assert desktops.billed == set(), number


@pytest.mark.parametrize("cloud", [FakeCloud, slow])
@pytest.mark.parametrize("fault", [None, Fault.LOST_AFTER, Fault.ERROR_AFTER])
def test_a_cancellation_at_any_boundary_leaves_nothing(
    cloud: Callable[[], FakeCloud], fault: Fault | None
) -> None:
    for number in range(boundaries(cloud) + 1):
        desktops = Desktops(cloud())
        desktops.cloud.faults["POST"] = [fault]
        try:
            desktops.create("one", steps=Steps(cancel_at=number))
        except Cancelled:
            assert desktops.inventory == {}, number
        desktops.wait(600)
        assert desktops.billed == desktops.entered, number


@pytest.mark.parametrize("kill_at", range(1, 24))
def test_what_a_killed_run_left_is_destroyed_at_once_although_its_tag_is_late(kill_at: int) -> None:
    cloud = FakeCloud(known_after_s=5, listed_after_s=40, active_after_s=25, ip_after_s=40)
    desktops = Desktops(cloud)
    with suppress(Killed):
        desktops.create("one", steps=Steps(kill_at=kill_at))
    desktops.destroy("one")
    assert desktops.billed == set()
