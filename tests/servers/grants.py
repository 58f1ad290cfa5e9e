"""Real grants and specs for runs, minted with the root token of the test's own OpenBao."""

from __future__ import annotations

import hashlib
import itertools
from dataclasses import dataclass
from typing import Any

from dispatcher.model.payload import encode_payload
from dispatcher.model.run import FormulaKind, FormulaRef, Grant, RunKey, RunSpec, Tier, WrappedGrant
from tests.servers.bao import Bao

ROLE = "test-runner"
_LOOKUP_SELF = 'path "auth/token/lookup-self" { capabilities = ["read"] }'
_numbers = itertools.count(1)


@dataclass(frozen=True, kw_only=True)
class Minter:
    """Grants over one KV mount."""

    bao: Bao
    prefix: str = "disinto/runner"

    def prepare(self) -> Minter:
        """Write the token role and the policy that every grant has."""
        client = self.bao.client()
        client.write_data(
            f"auth/token/roles/{ROLE}",
            data={
                "allowed_policies_glob": ["runner-*"],
                "orphan": True,
                "token_no_default_policy": True,
                "renewable": True,
            },
        )
        client.sys.create_or_update_policy(name="runner-test-self", policy=_LOOKUP_SELF)
        return self

    def put(self, name: str, value: str) -> None:
        """Store a secret, and the policy that lets a grant read it."""
        self.bao.put(name, value, prefix=self.prefix)
        self.allow(name)

    def allow(self, name: str) -> None:
        """The policy alone."""
        path = f"{self.bao.kv_mount}/data/{self.prefix}/{name}"
        self.bao.client().sys.create_or_update_policy(
            name=self.policy(name), policy=f'path "{path}" {{ capabilities = ["read"] }}'
        )

    def policy(self, name: str) -> str:
        return f"runner-test-{self.bao.kv_mount}-{name.lower()}"

    def mint(self, *secrets: str, wrap_ttl: str = "300s") -> WrappedGrant:
        policies = ["runner-test-self", *map(self.policy, secrets)]
        answer = self.bao.client().auth.token.create(
            role_name=ROLE, policies=policies, ttl="600s", wrap_ttl=wrap_ttl
        )
        info = answer["wrap_info"]
        return WrappedGrant(
            grant=Grant(
                wrapping_accessor=info["accessor"],
                accessor=info["wrapped_accessor"],
                policies=tuple(policies),
            ),
            token=info["token"],
            creation_path=info["creation_path"],
        )

    def unwrap(self, wrapped: WrappedGrant) -> str:
        """Use a wrapping token up, as an interceptor would; returns the token inside."""
        token: str = self.bao.client().sys.unwrap(wrapped.token)["auth"]["client_token"]
        return token

    def spec(self, text: str | bytes, **more: Any) -> RunSpec:
        """A run of this formula under a new id."""
        data = text.encode() if isinstance(text, str) else text
        kind = more.pop("kind", FormulaKind.SHELL)
        number = next(_numbers)
        defaults: dict[str, Any] = {
            "key": RunKey(action_id=f"run-{number}", blob=hashlib.sha1(b"%d" % number).hexdigest()),
            "commit": "c" * 40,
            "tier": Tier.LOW,
            "formula": formula_ref(data, kind=kind),
            "formula_text": data,
            "vault_addr": self.bao.addr,
            "kv_mount": self.bao.kv_mount,
            "kv_prefix": self.prefix,
            "outcome_key": f"outcome-key-{number}",
            "timeout_s": 60,
            "kill_grace_s": 1.0,
        }
        return RunSpec(**{**defaults, **more})

    def payload(self, spec: RunSpec) -> bytes:
        return encode_payload(spec, self.mint(*spec.secrets))


def formula_ref(data: bytes, *, kind: FormulaKind = FormulaKind.SHELL) -> FormulaRef:
    return FormulaRef(
        name="probe",
        kind=kind,
        blob=hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest(),
        sha256=hashlib.sha256(data).hexdigest(),
    )
