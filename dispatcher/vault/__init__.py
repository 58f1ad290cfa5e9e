"""Vault and OpenBao: the only package that calls them, apart from the runner.

``session`` logs in, ``grants`` mints and ends what runs hold, ``apply`` writes policies and
roles, which ``templates`` renders, ``names`` names and ``ownership`` marks as ours, ``secrets``
administers the secrets themselves, ``doctor`` checks it all.
"""

from dispatcher.vault.grants import GrantGone, Grants, PolicyMissing
from dispatcher.vault.session import Rejected, Vault, VaultHealth

__all__ = ["GrantGone", "Grants", "PolicyMissing", "Rejected", "Vault", "VaultHealth"]
