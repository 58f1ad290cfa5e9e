"""Finds addresses that would send tokens and secrets over a network without TLS. Pure.

Loopback does not leave the machine, so plain http is allowed there.
"""

from __future__ import annotations

from dataclasses import dataclass

from dispatcher.settings.addresses import is_plain_http, origin
from dispatcher.settings.models import Settings
from dispatcher.settings.notify_checks import plain_address
from dispatcher.settings.whole import engine_sections


@dataclass(frozen=True, kw_only=True, slots=True)
class PlainAddress:
    """One address of the settings.

    Attributes:
        key: its key in the settings, such as ``[vault] addr``.
        address: scheme, host and port.
        carries: what goes over it, as a noun phrase.
    """

    key: str
    address: str
    carries: str

    @property
    def warning(self) -> str:
        """What is wrong, without a full stop."""
        return (
            f"{self.key} is {self.address}: {self.carries} cross the network unencrypted, and "
            "anybody on the path can read and change them"
        )

    @property
    def remedy(self) -> str:
        """What to do about it."""
        if self.address.startswith("smtp://"):
            return f'Set tls = "starttls" or "tls" in {self.key}.'
        return f"Serve it over TLS and use https:// in {self.key}."


def plain_addresses(settings: Settings) -> tuple[PlainAddress, ...]:
    """The addresses in use that are plain http to another machine."""
    vault = "the dispatcher's token and the grants"
    addresses = (
        ("[vault] addr", settings.vault.addr, vault),
        ("[vault] runner_addr", settings.vault.runner_addr, "the grants and the secrets"),
        *(
            (f"[{name}] {address.key}", address.value, address.carries)
            for name, engine in engine_sections(settings)
            for address in engine.addresses()
            if name == settings.scheduler
        ),
        ("[forge] url", settings.forge.url, "the API token and the approvals"),
        ("[ops_repo] remote", settings.ops_repo.remote, "the token, actions and results"),
        *(
            (f"[[notify]] {sink.name}", plain_address(sink), "the notifications")
            for sink in settings.notify
        ),
    )
    return tuple(
        PlainAddress(key=key, address=origin(address), carries=carries)
        for key, address, carries in addresses
        if is_plain_http(address) or address.startswith("smtp://")
    )
