"""What a destruction may call gone: nothing that the provider still has under the number of the entry."""

from __future__ import annotations

import pytest

from dispatcher.desktop.destroy import StillThere
from dispatcher.provision.params import BadParams
from tests.support.desktops import TAGS, Desktops


def test_a_desktop_of_another_project_is_not_gone() -> None:
    desktops = Desktops()
    desktops.create("one")
    with pytest.raises(BadParams, match=r"one was made with the project disinto, .* has desks"):
        desktops.destroy("one", project="desks")
    assert desktops.billed == desktops.entered != set()
    desktops.destroy("one")
    assert desktops.billed == set()


def test_a_machine_that_is_there_without_its_tags_is_named_and_not_gone() -> None:
    desktops = Desktops()
    desktops.create("one")
    (machine,) = desktops.cloud.running()
    kept, machine.tags = machine.tags, []
    with pytest.raises(StillThere, match=f"droplet {machine.id} does not carry the tag"):
        desktops.destroy("one")
    assert desktops.billed == desktops.entered == {machine.id}
    machine.tags = kept
    desktops.destroy("one")
    assert desktops.billed == set()


def test_the_number_of_somebody_elses_desktop_deletes_nothing_of_theirs() -> None:
    desktops = Desktops()
    desktops.create("one")
    desktops.create("two")
    desktops.inventory["one"]["droplet_id"] = desktops.inventory["two"]["droplet_id"]
    with pytest.raises(StillThere, match=TAGS.desktop("one")):
        desktops.destroy("one")
    assert desktops.billed == {desktops.inventory["two"]["droplet_id"]}


def test_a_machine_whose_number_nobody_knows_is_gone() -> None:
    desktops = Desktops()
    desktops.create("one")
    desktops.cloud.droplets.clear()
    assert "gone already" in desktops.destroy("one").said[-1]
    assert desktops.inventory == {}
