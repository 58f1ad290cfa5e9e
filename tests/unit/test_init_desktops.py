"""``disinto init --with desktops``: what is written is complete; ``doctor`` names what is not so any more."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from dispatcher.cli.root import root
from dispatcher.decide.policy import load_policy
from dispatcher.decide.tiers import effective_tier
from dispatcher.model.checks import Check
from dispatcher.model.run import Tier
from dispatcher.operate.desktop_checks import check_desktops
from dispatcher.operate.desktops import CREATE, DESTROY, creating, destroying
from dispatcher.operate.preflight import parse_action
from dispatcher.operate.scaffold import Scaffold, scaffold
from dispatcher.schemas import parse_schema
from dispatcher.schemas.formula_schema import FormulaSchema
from dispatcher.settings import load_settings

pytestmark = pytest.mark.needs("git")
TOKEN = "DIGITALOCEAN_API_TOKEN"


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Scaffold:
    return scaffold(tmp_path_factory.mktemp("init") / "here", desktops=True)


def checks(folder: Path, stored: tuple[str, ...] = (TOKEN,)) -> dict[str, Check]:
    settings = load_settings(folder / "disinto.toml", {})
    found = check_desktops(
        settings, lambda: load_policy(settings.policy.file), lambda _: (), lambda: stored
    )
    return {check.name: check for check in found}


def test_what_it_writes_is_complete(template: Scaffold) -> None:
    found = checks(template.folder)
    assert [check for check in found.values() if not check.ok] == []
    assert {name for name, check in found.items() if check.warning} == {"desktops: gate"}
    settings = load_settings(template.folder / "disinto.toml", {})
    assert settings.vault.derived == {"DESKTOP_HMAC": "disinto-desktops"}
    for name in (CREATE, DESTROY, "desktop-reap"):
        assert settings.formulas.classes[name] == "provision"
        schema = (template.folder / "formulas" / f"{name}.schema.json").read_bytes()
        assert isinstance(parse_schema(schema, name=name), FormulaSchema)


def test_no_secret_raises_the_tier_of_what_the_commands_send(template: Scaffold) -> None:
    policy = load_policy(template.folder / "policy.toml")
    for stem, text in (
        ("a", creating("a", {"name": "a"})),
        ("b", destroying("b", "a")),
        ("c", creating("c", {"name": "a"}).replace(b'"desktop"', b'"desktop-destroy"')),
    ):
        action = parse_action(text, path=f"{stem}.toml", stem=stem)
        assert effective_tier(policy, action).tier is Tier.MEDIUM  # type: ignore[arg-type]


def test_both_parts_at_once(tmp_path: Path) -> None:
    made = scaffold(tmp_path / "here", desktops=True, sidecars=True)
    classes = load_settings(made.folder / "disinto.toml", {}).formulas.classes
    assert (classes["triage"], classes[CREATE]) == ("sidecar", "provision")
    load_policy(made.folder / "policy.toml")


def test_its_text_names_what_remains(tmp_path: Path) -> None:
    said = CliRunner().invoke(root, ["init", str(tmp_path / "here"), "--with", "desktops"])
    assert said.exit_code == 0, said.output
    for words in (
        "policy.toml", "[policy] gate", "desktop-settings.json", "disinto apply",
        "secrets put DIGITALOCEAN_API_TOKEN", "disinto doctor", "disinto desktop create",
    ):  # fmt: skip
        assert words in said.output


def test_without_desktops_nothing_of_it(tmp_path: Path) -> None:
    plain = scaffold(tmp_path / "plain")
    assert not [name for name in plain.written if "desktop" in name]
    assert "desktop" not in (plain.folder / "policy.toml").read_text()
    assert checks(plain.folder) == {}


def replaced(name: str, old: str, new: str) -> Callable[[Path], None]:
    def break_it(folder: Path) -> None:
        text = (folder / name).read_text()
        assert old in text
        (folder / name).write_text(text.replace(old, new))

    return break_it


def removed(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / "formulas" / name).unlink()


MISTAKES: dict[str, tuple[Callable[[Path], None], str, str]] = {
    "a formula is missing": (
        removed("desktop-destroy.sh"), "desktops", "lacks desktop-destroy.sh"),
    "its schema is missing": (
        removed("desktop.schema.json"), "desktops", "lacks desktop.schema.json"),
    "the catalogue is missing": (
        removed("desktop-apps.json"), "desktops", "lacks desktop-apps.json"),
    "a key of the settings is misspelt": (
        replaced("formulas/desktop-settings.json", '"project"', '"projct"'),
        "desktops: desktop-settings.json", "projct"),
    "the settings are not JSON": (
        replaced("formulas/desktop-settings.json", "{", ""),
        "desktops: desktop-settings.json", "JSON"),
    "a key of the catalogue is misspelt": (
        replaced("formulas/desktop-apps.json", '"packages"', '"package"'),
        "desktops: desktop-apps.json", "package"),
    "a formula is misspelt in its class": (
        replaced("disinto.toml", 'desktop-reap = "provision"', 'desktop-rep = "provision"'),
        "desktops: job class", "desktop-reap"),
    "the derived secret is misspelt": (
        replaced("disinto.toml", "DESKTOP_HMAC =", "DESKTOP_HMCA ="),
        "desktops: DESKTOP_HMAC", "lacks DESKTOP_HMAC"),
    "a secret is misspelt in the policy": (
        replaced("policy.toml", '["DIGITALOCEAN_API_TOKEN", "DESKTOP_HMAC"]',
                 '["DIGITAL_OCEAN_API_TOKEN", "DESKTOP_HMAC"]'),
        "desktops: tier of desktop", "DIGITALOCEAN_API_TOKEN"),
}  # fmt: skip


@pytest.mark.parametrize("mistake", MISTAKES)
def test_doctor_names_a_mistake(tmp_path: Path, mistake: str) -> None:
    break_it, name, words = MISTAKES[mistake]
    folder = scaffold(tmp_path / "here", desktops=True).folder
    break_it(folder)
    check = checks(folder)[name]
    assert words in check.detail
    assert check.remedy
    assert "None" not in check.remedy


def test_doctor_names_a_token_that_is_not_stored(template: Scaffold) -> None:
    check = checks(template.folder, stored=("DIGITALOCEAN_APITOKEN",))[f"desktops: {TOKEN}"]
    assert not check.ok
    assert "disinto secrets put DIGITALOCEAN_API_TOKEN" in check.remedy
    assert "DIGITALOCEAN_APITOKEN" in check.remedy
    nothing = checks(template.folder, stored=())[f"desktops: {TOKEN}"]
    assert nothing.remedy == "Store it: disinto secrets put DIGITALOCEAN_API_TOKEN."


def test_the_gate_is_named_only_while_something_waits_for_it(tmp_path: Path) -> None:
    folder = scaffold(tmp_path / "here", desktops=True).folder
    text = (folder / "policy.toml").read_text()
    head, begin, tail = text.partition("# Formulas of desktops")
    tail = tail.replace('"medium"', '"low"').replace('"high"', '"low"')
    (folder / "policy.toml").write_text(head + begin + tail)
    assert not [check for check in checks(folder).values() if check.warning]
