"""Job classes: what settings may say, and what a class adds to an action."""

from __future__ import annotations

from pathlib import Path

import pytest

from dispatcher.assembly import open_settings
from dispatcher.decide.placing import SIDECAR, Placing, place
from dispatcher.decide.policy import Policy, parse_policy
from dispatcher.decide.project_bots import with_project_bots
from dispatcher.decide.sidecar_rules import parse_sidecars
from dispatcher.decide.tiers import Item, effective_tier
from dispatcher.engines.job_classes import class_warnings
from dispatcher.engines.local.engine import LocalEngine
from dispatcher.engines.nomad.engine import NomadEngine
from dispatcher.engines.nomad.render import parent_job
from dispatcher.errors import InvalidSettings, Misconfigured
from dispatcher.model.action import Action, parse_action
from dispatcher.model.job_class import JobVariant
from dispatcher.model.mounts import Mount
from dispatcher.model.run import Tier
from dispatcher.settings import Settings, load_settings
from dispatcher.settings.jobs import class_settings, job_classes

SIDECAR_SETTINGS = """\
scheduler = "nomad"

[formulas.classes]
reproduce = "sidecar"
desktop = "provision"

[jobs.sidecar.bots]
acme = "acme-bot"
"""
ISSUE = '[params]\nproject = "acme"\nissue_number = 7\nproject_toml = "projects/acme.toml"\n'


def loaded(tmp_path: Path, text: str) -> Settings:
    file = tmp_path / "disinto.toml"
    file.write_text(text)
    return load_settings(file, {})


def problems(tmp_path: Path, text: str) -> str:
    with pytest.raises(InvalidSettings) as wrong:
        loaded(tmp_path, text)
    return str(wrong.value)


def action(formula: str = "reproduce", *, keys: str = "", params: str = ISSUE) -> Action:
    text = f'id = "a"\nformula = "{formula}"\ncontext = ""\n{keys}\n'
    if "secrets" not in keys:
        text += "secrets = []\n"
    parsed = parse_action((text + params).encode(), path="a.toml", stem="a")
    assert isinstance(parsed, Action), parsed
    return parsed


def placed(settings: Settings, asked: Action, *, source: str = "") -> Placing:
    return place(job_classes(settings), asked, path="vault/actions/a.toml", source=source)


# -- settings ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ('[formulas.classes]\na = "sidcar"', 2, 'Did you mean "sidecar"?'),
        ('[formulas.classes]\na = "gpu"', 2, "Add [jobs.gpu]"),
        ('[formulas.classes]\n"../x" = "runner"', 2, "a formula's name"),
        ("[jobs.gpu]\nmemory = 3", 2, 'Did you mean "memory_mb"?'),
        ("[jobs.gpu]\nmemory_mb = -1", 2, "memory_mb"),
        ('[jobs.gpu]\nmounts = ["sshh"]', 2, 'Did you mean "ssh"?'),
        ('[jobs.gpu]\nsecrets = ["path"]', 2, "A-Z"),
        ('[jobs.gpu]\nsecrets = ["PATH"]', 2, "PATH"),
        ('[jobs.gpu]\nmeta = ["commit"]', 2, "already"),
        ('[jobs.gpu]\nmeta = ["A b"]', 2, "Use a-z"),
        ("[jobs.GPU]", 1, "cannot be the name of a job class"),
        ("[jobs.gpu-ssh]", 1, "contain that of the mount ssh"),
        ("[jobs.ops-repo]", 1, "contain that of the mount ops-repo"),
        ('[jobs.gpu.bots]\nacme = "A"', 2, "the name of a bot"),
        ('[jobs.gpu.bots]\nacme = "../runner/X"', 2, "the name of a bot"),
        ('[jobs.gpu.bots]\nacme = "b.c"', 2, "the name of a bot"),
        ('[jobs.gpu.bots]\n"a/b" = "bot"', 2, "the name of a project"),
        (
            '[ops_repo]\ntoken_secret = "forge"\n[jobs.gpu.bots]\nacme = "forge"',
            4,
            "([ops_repo] token_secret), which no run may get",
        ),
        (
            '[jobs.gpu]\nsecrets = ["FORGE_TOKEN"]\n[jobs.gpu.bots]\nacme = "bot"',
            2,
            "the token of the project's bot",
        ),
        ('[jobs.gpu]\nbot_tier = "root"', 2, "bot_tier"),
        ('scheduler = "nomad"\n[jobs.gpu]\ndriver = "podman"', 3, "Use docker or raw_exec"),
        (
            'scheduler = "nomad"\n[nomad]\ndriver = "raw_exec"\n[jobs.gpu]\nmounts = ["ssh"]',
            4,
            "the driver raw_exec has none",
        ),
        (
            'scheduler = "nomad"\n[jobs.gpu]\nmemory_mb = 300\nmemory_max_mb = 200',
            4,
            "memory_max_mb is smaller",
        ),
        ('[jobs.gpu]\nmounts = ["ssh"]', 1, "Add ssh to [local.mounts]"),
        ('[formulas.classes]\nreproduce = "sidecar"', 1, "Add project-repos to [local.mounts]"),
    ],
)
def test_a_mistake_is_reported_with_line_and_remedy(
    tmp_path: Path, text: str, line: int, said: str
) -> None:
    report = problems(tmp_path, text)
    assert f":{line}:" in report
    assert said in report


def test_a_table_overrides_single_keys_of_a_built_in_class(tmp_path: Path) -> None:
    settings = loaded(tmp_path, SIDECAR_SETTINGS + "[jobs.sidecar]\nmemory_mb = 4096\n")
    keys = class_settings(settings, "sidecar")
    assert (keys.memory_mb, keys.cpu_mhz) == (4096, 500)
    assert keys.mounts == (Mount.PROJECT_REPOS, Mount.OPS_REPO, Mount.AGENT_DATA)
    assert [mount for mount in keys.mounts if mount.read_only] == [Mount.OPS_REPO]
    emptied = loaded(tmp_path, SIDECAR_SETTINGS + "[jobs.sidecar]\nmounts = []\n")
    assert class_settings(emptied, "sidecar").mounts == ()


def test_only_classes_in_use_count(tmp_path: Path) -> None:
    assert set(job_classes(loaded(tmp_path, "")).by_name) == {"runner"}
    used = job_classes(loaded(tmp_path, SIDECAR_SETTINGS + "[jobs.gpu]\n")).by_name
    assert list(used) == ["runner", "gpu", "provision", "sidecar"]


def test_the_local_engine_reports_what_it_ignores(tmp_path: Path) -> None:
    text = '[jobs.gpu]\nmemory_mb = 99\nsecrets = ["KEY"]\nnode_pool = "gpu"\n'
    (warning,) = class_warnings(loaded(tmp_path, text))
    assert "the local engine ignores node_pool, memory_mb of the job class gpu" in warning
    assert not class_warnings(loaded(tmp_path, f'scheduler = "nomad"\n{text}'))
    assert not class_warnings(loaded(tmp_path, '[jobs.gpu]\nsecrets = ["KEY"]\n'))


# -- what a class adds ---------------------------------------------------------------------


def test_formulas_without_a_class_run_as_before(tmp_path: Path) -> None:
    asked = action("hello", keys='mounts = ["ssh"]\nsecrets = ["A"]', params="")
    placing = placed(loaded(tmp_path, SIDECAR_SETTINGS), asked)
    assert placing.variant.job_class == "runner"
    assert placing.all_mounts(asked) == (Mount.SSH,)
    assert placing.all_secrets(asked) == ("A",)
    assert (placing.bot, placing.meta, placing.problems) == ("", {}, ())


def test_a_sidecar_has_its_mounts_its_meta_and_its_projects_bot(tmp_path: Path) -> None:
    settings = loaded(tmp_path, SIDECAR_SETTINGS)
    placing = placed(settings, action(), source=SIDECAR)
    assert placing.problems == ()
    assert placing.bot == "acme-bot"
    assert placing.meta == {"issue_number": "7", "project_toml": "projects/acme.toml"}
    assert placing.variant.mounts == {Mount.PROJECT_REPOS, Mount.AGENT_DATA, Mount.OPS_REPO}
    other = placed(settings, action(params=ISSUE.replace('"acme"', '"other"')), source=SIDECAR)
    assert other.bot == ""


@pytest.mark.parametrize("source", ["", "schedule", "sidecars"])
def test_an_action_that_the_sidecar_source_did_not_write_gets_no_bot(
    tmp_path: Path, source: str
) -> None:
    (problem,) = placed(loaded(tmp_path, SIDECAR_SETTINGS), action(), source=source).problems
    assert "which only an action gets that the dispatcher wrote itself" in str(problem)
    assert problem.field == "params.project"


def test_the_operator_can_give_it_the_bot_at_a_tier(tmp_path: Path) -> None:
    text = SIDECAR_SETTINGS + '[jobs.sidecar]\nmounts = []\nbot_tier = "medium"\n'
    settings = loaded(tmp_path, text)
    policy = parse_policy(b'[tiers]\nreproduce = "low"\n', path="policy.toml")
    by_hand = placed(settings, action())
    assert (by_hand.bot, by_hand.problems) == ("acme-bot", ())
    decision = effective_tier(policy, action(), by_hand)
    assert decision.tier is Tier.MEDIUM
    assert decision.raised == "bot acme-bot raises it to medium ([jobs.sidecar] bot_tier)"
    written = placed(settings, action(), source=SIDECAR)
    assert effective_tier(policy, action(), written).tier is Tier.LOW


@pytest.mark.parametrize(
    ("keys", "params", "field", "said"),
    [
        ('mounts = ["ssh"]', ISSUE, "mounts", "does not have the mount ssh"),
        ("", '[params]\nproject_toml = "p"\n', "params.issue_number", "needs the parameter"),
        ("", ISSUE.replace("7", "true"), "params.issue_number", "needs the parameter"),
        ("", ISSUE.replace("7", '"7 $(id)"'), "params.issue_number", "cannot be the parameter"),
        ("", ISSUE.replace("projects/", "../"), "params.project_toml", "cannot be the parameter"),
        ("", ISSUE.replace("projects/", "x" * 300), "params.project_toml", "cannot be"),
        ('secrets = ["FORGE_TOKEN"]', ISSUE, "secrets", "no action can name it"),
    ],
)
def test_what_does_not_fit_a_class_is_refused(
    tmp_path: Path, keys: str, params: str, field: str, said: str
) -> None:
    settings = loaded(tmp_path, SIDECAR_SETTINGS)
    (problem,) = placed(settings, action(keys=keys, params=params), source=SIDECAR).problems
    assert problem.field == field
    assert said in problem.message


def test_a_secret_of_the_class_and_one_of_the_action_cannot_share_a_variable(
    tmp_path: Path,
) -> None:
    made = '[vault.dynamic.DB]\npath = "database/creds/x"\nfields = { DB_USER = "username" }\n'
    settings = loaded(
        tmp_path, f'{made}[jobs.gpu]\nsecrets = ["DB"]\n[formulas.classes]\nf = "gpu"'
    )
    classes, variables = job_classes(settings), {"DB": ("DB_USER",)}
    clash = action("f", keys='secrets = ["DB_USER"]', params="")
    (problem,) = place(classes, clash, path="p", source="", variables=variables).problems
    assert "both become DB_USER" in problem.message
    same = action("f", keys='secrets = ["DB"]', params="")
    placing = place(classes, same, path="p", source="", variables=variables)
    assert placing.all_secrets(same) == ("DB",), "naming it as well changes nothing"


def test_what_a_class_gives_counts_for_the_tier(tmp_path: Path) -> None:
    settings = loaded(
        tmp_path,
        'scheduler = "nomad"\n[jobs.gpu]\nmounts = ["ssh"]\nsecrets = ["KEY"]\n'
        '[formulas.classes]\ntrain = "gpu"\n',
    )
    asked = action("train", params="")
    policy = parse_policy(
        b'[tiers]\ntrain = "low"\n[secrets]\nKEY = "medium"\n[mounts]\nssh = "high"\n',
        path="policy.toml",
    )
    decision = effective_tier(policy, asked, placed(settings, asked))
    assert decision.of(Item.SECRET) == {"KEY": Tier.MEDIUM}
    assert decision.of(Item.MOUNT) == {"ssh": Tier.HIGH}
    assert decision.tier is Tier.HIGH
    trusted = parse_policy(
        b'[formulas.train]\ntier = "low"\nsecrets = ["KEY"]\nmounts = ["ssh"]\n',
        path="policy.toml",
    )
    assert effective_tier(trusted, asked, placed(settings, asked)).tier is Tier.LOW
    assert effective_tier(Policy(tiers={"train": Tier.LOW}), asked).tier is Tier.LOW


# -- the projects of sidecars.toml ---------------------------------------------------------

PROJECTS = b"""
[projects.acme]
repository = "acme/app"
bot = "acme-bot"
[projects.other]
repository = "acme/other"
bot = "other-bot"
rules = ["plain"]
[rules.reproduce]
formula = "reproduce"
labels = ["bug-report"]
[rules.plain]
formula = "hello"
labels = ["hello"]
"""


def test_a_projects_bot_belongs_to_the_classes_of_its_rules(tmp_path: Path) -> None:
    text = SIDECAR_SETTINGS.partition("[jobs")[0]
    sidecars = parse_sidecars(PROJECTS, path="sidecars.toml")
    classes = job_classes(with_project_bots(loaded(tmp_path, text), sidecars)).by_name
    assert classes["sidecar"].bots == {"acme": "acme-bot"}
    assert classes["runner"].bots == {}, "its formulas are everybody's"
    assert classes["sidecar"].mounts, "the built-in keys stay"
    given = text + '[jobs.sidecar.bots]\nacme = "mine"\n'
    classes = job_classes(with_project_bots(loaded(tmp_path, given), sidecars)).by_name
    assert classes["sidecar"].bots == {"acme": "mine"}


def test_no_project_has_the_dispatchers_own_secret_as_its_bot(tmp_path: Path) -> None:
    settings = loaded(tmp_path, SIDECAR_SETTINGS + '[sidecars]\ntoken_secret = "other-bot"\n')
    with pytest.raises(Misconfigured, match=r"projects\.other in .*\[sidecars\] token_secret"):
        with_project_bots(settings, parse_sidecars(PROJECTS, path="sidecars.toml"))


def test_every_command_has_the_bots_of_the_sidecars_file(tmp_path: Path) -> None:
    (tmp_path / "sidecars.toml").write_bytes(PROJECTS)
    text = SIDECAR_SETTINGS.partition("[jobs")[0]
    text += '[sidecars]\nfile = "sidecars.toml"\n[forge]\nurl = "https://forge.example"\n'
    (tmp_path / "disinto.toml").write_text(text)
    assert job_classes(open_settings(tmp_path / "disinto.toml", {})).bots == {"acme-bot"}


def test_a_run_that_provisions_has_the_time_to_remove_what_it_made(tmp_path: Path) -> None:
    local = loaded(
        tmp_path, '[local]\nkill_grace_s = 7\n[formulas.classes]\ndesktop = "provision"\n'
    )
    assert LocalEngine().kill_grace_s(local, "provision") == 150.0
    assert LocalEngine().kill_grace_s(local) == 7.0
    nomad = loaded(tmp_path, 'scheduler = "nomad"\n[formulas.classes]\ndesktop = "provision"\n')
    assert NomadEngine().kill_grace_s(nomad, "provision") == 25.0  # what any client grants
    assert NomadEngine().kill_grace_s(nomad) == 10.0
    assert 'kill_timeout = "30s"' in parent_job(nomad, JobVariant(job_class="provision")).hcl


def test_on_nomad_a_longer_grace_is_asked_for_by_the_settings(tmp_path: Path) -> None:
    text = 'scheduler = "nomad"\n[formulas.classes]\ndesktop = "provision"\n[jobs.provision]\n'
    nomad = loaded(tmp_path, text + "kill_grace_s = 120\n")
    assert NomadEngine().kill_grace_s(nomad, "provision") == 120.0
    assert 'kill_timeout = "125s"' in parent_job(nomad, JobVariant(job_class="provision")).hcl
    assert 'kill_timeout = "30s"' in parent_job(nomad, JobVariant()).hcl
    assert "kill_grace_s" in problems(tmp_path, text + "kill_grace_s = -1\n")
