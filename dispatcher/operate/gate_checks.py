"""The checks of ``disinto doctor`` for the gate."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from dispatcher.forge import ForgeApi
from dispatcher.gate.trailer import Place
from dispatcher.model.checks import Check
from dispatcher.operate.signer_checks import check_signers
from dispatcher.ops_repo.signatures import TRAILER
from dispatcher.settings import GateKind, Role, Settings


def check_gate(settings: Settings, forge: Callable[[], ForgeApi]) -> Iterator[Check]:
    """What the configured gate asks, and whether it can ask.

    Args:
        forge: opens the forge's API, with gate ``forgejo``.

    Raises:
        DisintoError: the forge is unavailable.
    """
    match settings.policy.gate:
        case GateKind.NONE:
            detail = "none: actions of tier medium and high cannot be approved"
            yield Check(name="gate", ok=True, detail=detail)
        case GateKind.SIGNED:
            yield from signed_gate(settings)
            yield from check_signers(settings)
        case GateKind.FORGEJO if settings.role is Role.AUTHOR:
            # Only what an author needs: their token may have no permission to read accounts.
            forge().open_requests()
            where = f"{settings.forge.url.rstrip('/')}/{settings.forge.repository}"
            detail = f"forgejo: the pull requests of {where} can be read with this token"
            yield Check(name="gate", ok=True, detail=detail)
        case GateKind.FORGEJO:
            me = forge().me()
            detail = f"forgejo: authenticated to {settings.forge.url} as {me.login}"
            yield Check(name="gate", ok=True, detail=detail)


def signed_gate(settings: Settings) -> Iterator[Check]:
    """What approvals must contain, and whether the repository's name in them is configured."""
    place = Place.of(settings)
    line = f"{TRAILER}: {place.repository}@{place.branch} <id, or formulas/<file>>"
    yield Check(
        name="gate", ok=True, detail=f'signed: a trusted key signs a commit with the line "{line}"'
    )
    if not settings.gate.repository:
        yield Check(
            name="gate: repository",
            ok=True,
            detail=f"approvals name {place.repository}, the end of the remote's address; another "
            "installation whose remote has the same ending accepts them too",
            remedy=f'Set [gate] repository to a name of its own, such as "{place.repository}".',
        )
