"""The forge: a thin client of Forgejo's and Gitea's v1 API.

It reads and writes; what an answer means for an action is decided in ``dispatcher.gate``, and for an
issue in ``dispatcher.decide``.

* ``exchange``: HTTP, bounded and counted, with the errors mapped
* ``sized``: pages of lists whose entries have any size
* ``api``, ``records``: calls about the ops repo, and what they answer
* ``sized``: pages of a list whose entries have any size
* ``accounts``: whose a token is, and whether it reads the ops repo
* ``oauth``: the web page as an application of the forge
* ``token_rights``: what a token may write, asked without writing
* ``issues``, ``issue_board``: issues of a project: read for rules; read and written for reports
"""

from dispatcher.forge.api import ForgeApi, token_source
from dispatcher.forge.exchange import ACCESS_WANTED, ForgeRefused, TooLarge

__all__ = ["ACCESS_WANTED", "ForgeApi", "ForgeRefused", "TooLarge", "token_source"]
