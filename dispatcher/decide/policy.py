"""The policy: which approval an action needs. Pure, except for reading its file.

It is ``policy.toml`` of the dispatcher's own configuration, never of the ops repo: whoever may merge
an action must not decide what needs approval. ``decide.tiers`` applies it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import pydantic.dataclasses
from pydantic import AfterValidator, ConfigDict, Field, TypeAdapter, model_validator

from dispatcher.decide.freeze_windows import Freeze
from dispatcher.decide.policy_approval import (
    IDENTITY,
    ApprovalRule,
    checked_local_teams,
    checked_people,
    contradictions,
)
from dispatcher.decide.policy_values import (
    LOCK_GLOB,
    SECRET_GLOB,
    checked_ages,
    checked_formulas,
    checked_globs,
    checked_list,
    checked_locks,
    checked_template,
)
from dispatcher.errors import InvalidInput, Misconfigured
from dispatcher.model.mounts import Mount
from dispatcher.model.names import ID_PATTERN
from dispatcher.model.run import Tier
from dispatcher.model.times import parse_duration
from dispatcher.toml.explain import Reader, complaint
from dispatcher.toml.source import TomlSource, quoted

MAX_POLICY_BYTES = 1024 * 1024

_CONFIG = ConfigDict(extra="forbid")


@pydantic.dataclasses.dataclass(frozen=True, kw_only=True, slots=True, config=_CONFIG)
class FormulaPolicy:
    """A table ``[formulas.<name>]``: a formula's tier, and what it may be given at that tier."""

    tier: Annotated[
        Tier | None,
        Field(description="The formula's tier, unless [tiers] gives it.", examples=["low"]),
    ] = None
    secrets: Annotated[
        tuple[Annotated[str, Field(json_schema_extra={"pattern": SECRET_GLOB})], ...],
        AfterValidator(checked_list),
        Field(
            description="Secrets, by name or glob, that do not raise the tier of this formula.",
            examples=[["DEPLOY_*"]],
        ),
    ] = ()
    mounts: Annotated[
        tuple[Mount, ...],
        Field(description="Mounts that do not raise the tier of this formula."),
    ] = ()
    lock: Annotated[
        str,
        AfterValidator(checked_template),
        Field(
            description="Lock of each action of this formula. {name} stands for a value of its "
            "[params].",
            examples=["deploy-{host}"],
        ),
    ] = ""
    approval: Annotated[
        ApprovalRule | None,
        Field(
            description="Approvals that each action of this formula needs besides those of its "
            "tier; what is not given here is as the tier has it."
        ),
    ] = None


@pydantic.dataclasses.dataclass(
    frozen=True, kw_only=True, slots=True, config=ConfigDict(extra="forbid", title="Policy")
)
class Policy:
    """The file ``policy.toml``: how much harm each formula, secret and mount can do.

    ``secrets`` and ``mounts`` are None if the policy does not mention them: then they raise no
    tier, which is what a policy meant before these tables existed.
    """

    tiers: Annotated[
        dict[str, Tier],
        AfterValidator(checked_formulas),
        Field(
            description="Tier by formula: low, medium or high. A formula that is not named is "
            "high.",
            json_schema_extra={"propertyNames": {"pattern": ID_PATTERN}},
        ),
    ] = Field(default_factory=dict)
    formulas: Annotated[
        dict[str, FormulaPolicy],
        AfterValidator(checked_formulas),
        Field(
            description="By formula: its tier, and the secrets and mounts it is trusted with.",
            json_schema_extra={"propertyNames": {"pattern": ID_PATTERN}},
        ),
    ] = Field(default_factory=dict)
    secrets: Annotated[
        dict[str, Tier] | None,
        AfterValidator(checked_globs),
        Field(
            description="Tier by secret: a name, or a glob with * and ?. The most specific entry "
            "counts; a secret that none matches is high.",
            json_schema_extra={"propertyNames": {"pattern": SECRET_GLOB}},
        ),
    ] = None
    mounts: Annotated[
        dict[Mount, Tier] | None,
        Field(description="Tier by mount. A mount that is not named is high."),
    ] = None
    locks: Annotated[
        dict[str, Tier],
        AfterValidator(checked_locks),
        Field(
            description="Tier by lock: what an action needs that names it itself. A name, or a "
            "glob with * and ?; the most specific entry counts. A lock that none matches raises "
            "no tier.",
            json_schema_extra={"propertyNames": {"pattern": LOCK_GLOB}},
        ),
    ] = Field(default_factory=dict)
    max_age: Annotated[
        dict[Tier, str],
        AfterValidator(checked_ages),
        Field(
            description="By tier: how old an approval may be when the action starts. An older one "
            "has to be given again.",
            examples=[{"high": "7d"}],
        ),
    ] = Field(default_factory=dict)
    freeze: Annotated[
        Freeze,
        Field(description="When no actions start. See docs/controls/freeze.md."),
    ] = Field(default_factory=Freeze)
    approval: Annotated[
        dict[Tier, ApprovalRule],
        Field(
            description="By tier, medium or high: how many approvals an action needs, and whose. "
            "What high does not give is as in medium."
        ),
    ] = Field(default_factory=dict)
    teams: Annotated[
        dict[str, tuple[Annotated[str, Field(json_schema_extra={"pattern": IDENTITY})], ...]],
        AfterValidator(checked_local_teams),
        Field(
            description="Teams for [approval]: names of [people], principals, gpg:<fingerprint> or "
            "logins.",
            examples=[{"release": ["ada@example.org", "bob"]}],
        ),
    ] = Field(default_factory=dict)
    people: Annotated[
        dict[str, tuple[Annotated[str, Field(json_schema_extra={"pattern": IDENTITY})], ...]],
        AfterValidator(checked_people),
        Field(
            description="Who is the same person, and so approves once: principals, "
            "gpg:<fingerprint>, logins and e-mail addresses, by name.",
            examples=[{"ada": ["ada@example.org", "ada-admin"]}],
        ),
    ] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _approvals_agree(self) -> Policy:
        tables = {n: (self.formula_tier(n), f.approval) for n, f in self.formulas.items()}
        of_formulas = {n: (tier, rule) for n, (tier, rule) in tables.items() if rule is not None}
        for problem in contradictions(self.approval, of_formulas, self.teams):
            raise problem
        return self

    @model_validator(mode="after")
    def _one_tier_each(self) -> Policy:
        for name, entry in self.formulas.items():
            if entry.tier is not None and name in self.tiers:
                raise complaint(
                    f"the tier of {quoted(name)} is given twice",
                    remedy=f"Remove it here or from [tiers], which gives it {self.tiers[name]}",
                    inside=("formulas", name, "tier"),
                )
        return self

    @property
    def asks_for_more(self) -> bool:
        """Whether there is a rule on approvals: otherwise one approval is enough, by anybody."""
        return bool(self.approval) or any(f.approval for f in self.formulas.values())

    def named(self) -> frozenset[str]:
        """Formulas that the policy gives a tier."""
        return frozenset(self.tiers) | {n for n, f in self.formulas.items() if f.tier}

    @property
    def judges_secrets(self) -> bool:
        """Whether secrets count: there is a ``[secrets]`` table, or a formula lists secrets."""
        return self.secrets is not None or any(f.secrets for f in self.formulas.values())

    @property
    def judges_mounts(self) -> bool:
        """Whether mounts count: there is a ``[mounts]`` table, or a formula lists mounts."""
        return self.mounts is not None or any(f.mounts for f in self.formulas.values())

    def max_age_s(self, tier: Tier) -> float | None:
        """Seconds that an approval of this tier counts; None for as long as it stands."""
        text = self.max_age.get(tier)
        return parse_duration(text) if text else None

    def formula_tier(self, name: str) -> Tier | None:
        """The tier that the policy gives a formula; None if it does not name it."""
        entry = self.formulas.get(name)
        return entry.tier if entry and entry.tier else self.tiers.get(name)


READER = Reader(adapter=TypeAdapter(Policy), subject="the policy")


def parse_policy(data: bytes, *, path: str) -> Policy:
    """Parse the bytes of a ``policy.toml``.

    Raises:
        InvalidInput: all problems at once, each with its place.
    """
    source = TomlSource.parse(data, path=path, limit=MAX_POLICY_BYTES)
    if source.problems:
        raise InvalidInput(source.problems)
    read = READER.read(source.data, source.problem)
    if not isinstance(read, Policy):
        raise InvalidInput(read)
    return read


def load_policy(file: Path | None) -> Policy:
    """The policy of a file; without one, every formula is of tier high.

    Raises:
        InvalidInput: see ``parse_policy``.
        Misconfigured: the file cannot be read.
    """
    return parse_policy(read_policy(file), path=str(file)) if file is not None else Policy()


def read_policy(file: Path) -> bytes:
    """The bytes of a policy file, up to one more than it may have.

    Raises:
        Misconfigured: the file cannot be read.
    """
    try:
        with file.open("rb") as stream:
            return stream.read(MAX_POLICY_BYTES + 1)
    except OSError as error:
        raise Misconfigured(
            f"the policy file {file} cannot be read: {error.strerror}",
            remedy="Correct [policy] file in the settings, or create the file",
        ) from error
