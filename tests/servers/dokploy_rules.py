"""What the fake of Dokploy checks and parses as the original does."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Any


class Fault(StrEnum):
    """What goes wrong with one request."""

    REFUSED = "no connection"
    ERROR_BEFORE = "500 and nothing was done"
    ERROR_AFTER = "500 although it was done"
    LOST_BEFORE = "no answer and nothing was done"
    LOST_AFTER = "no answer although it was done"
    LATE = "no answer, and done eight seconds later"
    GARBAGE = "done, and an answer that is not JSON"
    LIMITED = "429"
    RESTART = "no answer although it was done, and the server restarts"


class Image(StrEnum):
    """What becomes of a container."""

    GOOD = "good"
    CHECKED = "good, and has a health check"
    MISSING = "cannot be pulled"
    CRASHES = "ends at once"
    CRASHES_UNCHECKED = "has a health check, and ends before it passed"
    CRASHES_WITH_B = "ends at once if its environment has a B"
    SILENT = "runs and answers nothing"


WRAPPED = ("project.create", "application.create", "mounts.create", "domain.create")
"""Procedures that answer 400 to whatever goes wrong."""

REQUIRED: dict[str, tuple[str, ...]] = {
    "project.create": ("name",),
    "application.create": ("name",),
    "application.saveDockerProvider": (
        "applicationId", "dockerImage", "username", "password", "registryUrl",
    ),
    "application.saveEnvironment": (
        "applicationId", "env", "buildArgs", "buildSecrets", "createEnvFile",
    ),
    "application.deploy": ("applicationId",),
    "domain.create": ("host",),
    "mounts.create": ("type", "mountPath", "serviceId"),
    "deployment.readLogs": ("deploymentId",),
}  # fmt: skip

HOST = re.compile(r"(?:[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?\.)*[a-zA-Z0-9-]+")
_LINE = re.compile(
    r"""^\s*(?:export\s+)?([\w.-]+)(?:\s*=\s*?|:\s+?)(\s*'(?:\\'|[^'])*'|\s*"(?:\\"|[^"])*"|\s*`(?:\\`|[^`])*`|[^#\r\n]+)?\s*(?:#.*)?$""",
    re.MULTILINE,
)


def dotenv(text: str | None) -> dict[str, str]:
    """As the ``dotenv`` of npm parses it, which the server uses."""
    values = {}
    for match in _LINE.finditer((text or "").replace("\r\n", "\n")):
        value = (match[2] or "").strip()
        double = value.startswith('"')
        value = re.sub(r"^(['\"`])([\s\S]*)\1$", r"\2", value, flags=re.MULTILINE)
        values[match[1]] = value.replace("\\n", "\n").replace("\\r", "\r") if double else value
    return values


def problem_of(application: dict[str, Any], images: dict[str, Image]) -> str:
    """Why a deployment fails; "" if it does not."""
    if application["sourceType"] != "docker":
        return "Github Provider not found"
    if images.get(application["dockerImage"], Image.MISSING) is Image.MISSING:
        return f"manifest for {application['dockerImage']} not found: manifest unknown"
    paths = [mount["mountPath"] for mount in application["mounts"]]
    if len(set(paths)) < len(paths):
        return "Duplicate mount point"
    if not all(path.startswith("/") for path in paths):
        return "invalid mount target, must be an absolute path"
    return ""
