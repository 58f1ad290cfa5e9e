"""Vault and OpenBao: the only package that calls them, apart from the runner.

Two clients share one connection (``http``), one token (``token``, by ``login``) and one set of
errors (``errors``):

* ``Vault`` (``session``), thin and measured, for the calls of every run: ``grants``, ``transit``,
  ``bot_secrets``, ``health``;
* hvac (``hvac_client``), for administration: ``apply`` writes policies and roles, which
  ``templates`` renders, ``names`` names and ``ownership`` marks as ours; ``removal`` deletes them;
  ``secrets`` stores what actions name; ``doctor`` checks it all, ``page`` the web page's own rights.
  AppRole, JWT and renewal, too.

``dynamic`` and ``derived`` check whether dynamic and derived secrets can be made,
``job_class_secrets`` whether what job classes give to runs is stored. The values of actions' secrets are read by the runner alone, with a client of its own (``dispatcher.runner.vault_client``).
"""

from dispatcher.vault.grants import GrantGone, Grants, PolicyMissing
from dispatcher.vault.session import Vault

__all__ = ["GrantGone", "Grants", "PolicyMissing", "Vault"]
