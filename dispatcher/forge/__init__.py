"""The forge: a thin client of Forgejo's and Gitea's v1 API.

It asks and tells; what an answer means for an action is decided in ``dispatcher.gate``.
"""

from dispatcher.forge.api import ForgeApi
from dispatcher.forge.exchange import ForgeRefused, TooLarge

__all__ = ["ForgeApi", "ForgeRefused", "TooLarge"]
