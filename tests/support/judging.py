"""From an ops repo's remote to what would become of an action there; nothing is ever run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from dispatcher.decide.policy import Policy
from dispatcher.errors import Denied, Unavailable
from dispatcher.gate import Decision, Gate, Question
from dispatcher.loop.formulas import FormulaStore
from dispatcher.loop.intake import Intake
from dispatcher.model.mounts import Mount
from dispatcher.model.paths import ACTIONS_PATH
from dispatcher.model.run import Tier
from dispatcher.ops_repo import OpsRepo, Tree
from dispatcher.settings import OpsRepoSettings

SCRIPT = "#!/bin/bash\necho hello\n"

POLICY = Policy(tiers={"greet": Tier.LOW, "deploy": Tier.HIGH, "theirs": Tier.LOW})
"""``greet`` and ``deploy`` are the operator's own; ``theirs`` lies in the ops repo."""


@dataclass(frozen=True, kw_only=True)
class Found:
    """What would become of an action.

    Attributes:
        outcome: approved, waiting, refused, invalid, ignored where the name is no id, or absent
            where there is no such action.
        reason: why.
        decision: the gate's, where it was asked.
    """

    outcome: str
    reason: str
    decision: Decision | None = None


@dataclass(kw_only=True)
class Judge:
    """The dispatcher up to the point where it would claim a run."""

    repo: OpsRepo
    folder: Path
    gate: Gate
    policy: Policy = POLICY
    secrets: tuple[str, ...] = ("PROD_DB_PASSWORD",)
    tree: Tree = field(default_factory=Tree)
    last_question: Question | None = None

    @classmethod
    def of(
        cls,
        *,
        remote: str,
        folder: Path,
        gate: Callable[[OpsRepo], Gate],
        username: str = "",
        token: str | None = None,
    ) -> Judge:
        settings = OpsRepoSettings(remote=remote, username=username or "x")
        repo = OpsRepo(git_dir=folder / "ops.git", settings=settings, credential=lambda: token)
        formulas = folder / "formulas"
        formulas.mkdir(parents=True)
        for name in ("greet", "deploy"):
            (formulas / f"{name}.sh").write_text(SCRIPT)
        return cls(repo=repo, folder=formulas, gate=gate(repo))

    def question(self, action_id: str) -> Question | Found:
        """Fetch, parse and vet; what the gate is to be asked, or why it need not be."""
        head = self.repo.fetch()
        self.repo.advance(self.tree, head.commit)
        file = self.tree.open.get(action_id)
        if file is None:
            if (path := f"{ACTIONS_PATH}/{action_id}.toml") in self.tree.misnamed:
                return Found(outcome="ignored", reason=path)
            return Found(outcome="absent", reason="there is no such action")
        formula_store = FormulaStore(folder=self.folder, repo=self.repo)
        intake = Intake(
            repo=self.repo,
            formula_store=formula_store,
            policy=self.policy,
            mounts=frozenset(Mount),
            limit=65_536,
        )
        vetted = intake.vet({action_id: file}, tree=self.tree, secrets=self.secrets, order={})[
            action_id
        ]
        if isinstance(vetted, Exception):
            raise vetted
        if vetted.problem or vetted.tier_decision is None or vetted.formula is None:
            return Found(outcome="invalid", reason=vetted.problem)
        return Question.about(vetted, commit=self.tree.commit)

    def outcome(self, action_id: str = "x") -> Found:
        """What would become of an action at the remote's present head."""
        question = self.question(action_id)
        if isinstance(question, Found):
            return question
        self.last_question = question
        try:
            decision = self.gate.check(question)
        except (Unavailable, Denied) as error:  # the service backs off, and asks again
            return Found(outcome="waiting", reason=str(error))
        return Found(outcome=decision.answer.value, reason=decision.reason, decision=decision)
