"""The forge: a thin client of Forgejo's and Gitea's v1 API.

It reads and writes; what an answer means for an action is decided in ``dispatcher.gate``.
"""

from dispatcher.forge.api import ForgeApi, token_source
from dispatcher.forge.exchange import ACCESS_WANTED, ForgeRefused, TooLarge

__all__ = ["ACCESS_WANTED", "ForgeApi", "ForgeRefused", "TooLarge", "token_source"]
