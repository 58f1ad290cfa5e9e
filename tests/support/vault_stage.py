"""A Vault set up by the project's own ``apply``, and the parties that talk to it in tests."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import hvac
import hvac.exceptions

from dispatcher.model.run import RunKey, WrappedGrant
from dispatcher.settings import ForgeSettings, OpsRepoSettings, Settings, VaultSettings
from dispatcher.vault import Grants, Vault
from dispatcher.vault.apply import apply_changes, plan_vault
from dispatcher.vault.names import dispatcher_policy
from dispatcher.vault.secrets import Secrets
from dispatcher.vault.transit import TransitKey
from tests.servers.bao import Bao

KEY = RunKey(action_id="deploy", blob="b" * 40)


@dataclass(frozen=True, kw_only=True)
class Stage:
    server: Bao
    settings: Settings
    operator: Vault

    @property
    def root(self) -> Any:
        return self.server.client()

    def apply(self) -> None:
        apply_changes(self.operator, plan_vault(self.operator, self.settings))

    def put(self, **values: str) -> None:
        secrets = Secrets(self.operator, self.settings)
        for name, value in values.items():
            secrets.put(name, value)

    def dispatcher_token(self, *, ttl: str = "1h", **more: Any) -> str:
        body = {
            "policies": [dispatcher_policy(self.settings.vault)],
            "no_default_policy": True,
            "no_parent": True,
        }
        auth = self.root.auth.token.create(ttl=ttl, **body, **more)["auth"]
        return str(auth["client_token"])

    def grants(self, token: str | None = None, **changed: Any) -> Grants:
        """A dispatcher's grants, by a token with the dispatcher's policy alone."""
        settings = self.settings.model_copy(update=changed)
        return Grants(self.dispatcher(token), settings)

    def dispatcher(self, token: str | None = None) -> Vault:
        """A dispatcher's connection, by a token with the dispatcher's policy alone."""
        environ = {"VAULT_TOKEN": token or self.dispatcher_token()}
        return Vault(self.settings.vault, environ=environ)

    def transit(self) -> TransitKey:
        """A dispatcher's signing key."""
        return TransitKey(self.dispatcher(), self.settings)

    def unwrap(self, wrapped: WrappedGrant) -> str:
        """What a runner does: the token inside."""
        client = self.server.client(wrapped.token)
        return str(client.sys.unwrap()["auth"]["client_token"])

    def is_alive(self, token: str) -> bool:
        """What a runner does next: look itself up."""
        try:
            self.server.client(token).auth.token.lookup_self()
        except hvac.exceptions.Forbidden:
            return False
        return True

    def knows(self, accessor: str) -> bool:
        try:
            self.root.auth.token.lookup_accessor(accessor)
        except (hvac.exceptions.InvalidRequest, hvac.exceptions.Forbidden):
            return False
        return True

    def read(self, token: str, name: str) -> str:
        secret = self.server.client(token).secrets.kv.v2.read_secret_version(
            path=f"{self.settings.vault.kv_prefix}/{name}",
            mount_point=self.server.kv_mount,
            raise_on_deleted_version=True,
        )
        return str(secret["data"]["data"]["value"])


@contextmanager
def stage(server: Bao, **changed: Any) -> Iterator[Stage]:
    """Apply the settings to a server. ``changed`` are keys of [vault]."""
    vault = VaultSettings(addr=server.addr, kv_mount=server.kv_mount, **changed)
    settings = Settings(
        vault=vault,
        ops_repo=OpsRepoSettings(token_secret="remote"),
        forge=ForgeSettings(token_secret="absent"),
    )
    operator = Vault.of_operator(vault, environ={"VAULT_TOKEN": server.root_token})
    try:
        made = Stage(server=server, settings=settings, operator=operator)
        made.apply()
        yield made
    finally:
        operator.close()
