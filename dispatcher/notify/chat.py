"""Slack-compatible incoming webhooks, and Matrix.

Slack: https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks. Mattermost,
Rocket.Chat and others take the same, and read Markdown and mentions in it, which Slack does not.
Matrix: client-server API 1.x, ``PUT .../send/{eventType}/{txnId}``: a homeserver makes one event of
all requests with one transaction ID and access token.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from urllib.parse import quote

from dispatcher.errors import Misconfigured
from dispatcher.model.notice import Notice
from dispatcher.notify.http import HttpSink
from dispatcher.settings.addresses import is_http, is_plain_http

JSON = {"Content-Type": "application/json"}

_ENTITIES = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})
"""All that Slack wants escaped: what is between < and > is a link, a user or a channel."""


class SlackSink:
    """A message for each notice.

    Args:
        http: sends it.
        address: gives the incoming webhook's address, which is its own password.
    """

    def __init__(self, http: HttpSink, *, address: Callable[[], str]) -> None:
        self._http, self._address = http, address

    def send(self, notice: Notice) -> str:
        """See ``Sink``."""
        address = slack_address(self._http.sink, self._address())
        body = json.dumps({"text": slack_text(notice), "unfurl_links": False}).encode()
        self._http.exchange("POST", address, headers=JSON, body=body)
        return ""


def slack_address(sink: str, address: str) -> str:
    """The address, checked; no message shows it.

    Raises:
        Misconfigured: it is no address, or would cross a network unencrypted.
    """
    if not is_http(address):
        raise Misconfigured(
            f"[[notify]] {sink}: the secret is not an http:// or https:// address",
            remedy="It must be the whole address of the incoming webhook.",
        )
    if is_plain_http(address):
        raise Misconfigured(
            f"[[notify]] {sink}: the address is plain http to another machine, and it is a secret",
            remedy="Use its https:// address.",
        )
    return address


def slack_text(notice: Notice) -> str:
    """Title and details; all that is foreign stands in code, where nothing is a mention, a link's
    text or markup, in Slack or in those who read Markdown.
    """
    lines = [f"*disinto* `{_code(notice.repository)}`: `{_code(one_line(notice.title))}`"]
    more = details(notice)
    if more:
        lines.append(f"```\n{_code(more)}\n```")
    return "\n".join(lines)


def one_line(text: str) -> str:
    """A text without line ends."""
    return " ".join(text.split())


def _code(text: str) -> str:
    return text.replace("`", "\u02cb").translate(_ENTITIES)


class MatrixSink:
    """A message of type ``m.notice`` for each notice, to which bots do not reply.

    Args:
        http: sends it.
        url: of the homeserver.
        room: ID of the room.
        token: gives the access token.
    """

    def __init__(self, http: HttpSink, *, url: str, room: str, token: Callable[[], str]) -> None:
        self._http, self._token = http, token
        self._base = (
            f"{url.rstrip('/')}/_matrix/client/v3/rooms/{quote(room, safe='')}/send/m.room.message"
        )

    def send(self, notice: Notice) -> str:
        """See ``Sink``."""
        content = {
            "msgtype": "m.notice",
            "body": plain_text(notice),  # no formatted_body: there is no markup in it
            "m.mentions": {},  # or else words such as @room in it would call everybody
        }
        headers = {**JSON, "Authorization": f"Bearer {self._token()}"}
        address = f"{self._base}/{notice.id}"
        self._http.exchange("PUT", address, headers=headers, body=json.dumps(content).encode())
        return ""


def plain_text(notice: Notice) -> str:
    """All of a notice as plain text."""
    head = f"[{notice.repository}] {notice.title}" if notice.repository else notice.title
    return "\n".join(part for part in (head, details(notice)) if part)


def details(notice: Notice) -> str:
    """What follows the title; "" if there is nothing."""
    about = [
        f"{name} {value}"
        for name, value in (("formula", notice.formula), ("tier", notice.tier))
        if value
    ]
    parts = [", ".join(about), notice.detail]
    if notice.output:
        parts.append(f"output:\n{notice.output}")
    return "\n".join(part for part in parts if part)
