"""A real browser without a screen: Chromium, driven by chromedriver (W3C WebDriver) through selenium.

``chromium`` and ``chromedriver`` are on PATH, as Debian's packages ``chromium`` and ``chromium-driver``
put them. Each browser has a profile of its own, and downloads nothing by itself.
"""

from __future__ import annotations

import base64
import hashlib
import os
import shutil
import tempfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

PROGRAMS = ("chromium", "chromedriver")

_ARGUMENTS = (
    "--headless=new",
    "--no-sandbox",  # tests may run as root
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-sync",
    "--no-first-run",
    "--no-default-browser-check",
    "--force-color-profile=srgb",
    "--no-proxy-server",
)


def why_missing() -> str | None:
    """Why there is none on this machine; None if there is."""
    missing = [program for program in PROGRAMS if shutil.which(program) is None]
    return f"`{missing[0]}` is not on PATH" if missing else None


@contextmanager
def browser(
    profile: Path,
    *,
    size: tuple[int, int] = (1024, 768),
    trusted: Collection[str] = (),
    hosts: str = "",
    more: Collection[str] = (),
) -> Iterator[Chrome]:
    """A browser until the block ends.

    Args:
        profile: directory of its profile; what the browser stores is there.
        size: of the window, in pixels.
        trusted: certificates (PEM) whose keys are trusted, each for every name, as if a person had
            accepted it; all others are verified as always.
        hosts: rules of the names it resolves, such as ``MAP *.desks.example 127.0.0.1``.
        more: arguments of Chromium.
    """
    # Here, because every test session looks for the programs, and importing this takes long.
    from selenium.webdriver import Chrome, ChromeOptions
    from selenium.webdriver.chrome.service import Service

    options = ChromeOptions()
    options.binary_location = str(shutil.which("chromium"))
    for argument in _ARGUMENTS:
        options.add_argument(argument)
    options.add_argument(f"--user-data-dir={profile}")
    options.add_argument(f"--window-size={size[0]},{size[1]}")
    if trusted:
        pins = ",".join(_pin(pem) for pem in trusted)
        options.add_argument(f"--ignore-certificate-errors-spki-list={pins}")
    if hosts:
        options.add_argument(f"--host-resolver-rules={hosts}")
    for argument in more:
        options.add_argument(argument)
    # Chromium's socket is in its temporary directory, and the path of a socket must be short.
    with tempfile.TemporaryDirectory(prefix="cr-", ignore_cleanup_errors=True) as scratch:
        service = Service(
            executable_path=str(shutil.which("chromedriver")),
            env={"PATH": os.environ["PATH"], "HOME": str(profile), "TMPDIR": scratch},
        )
        driver = Chrome(options=options, service=service)
        try:
            driver.set_page_load_timeout(60)
            driver.set_script_timeout(30)
            yield driver
        finally:
            driver.quit()


def _pin(pem: str) -> str:
    """SHA-256 of a certificate's public key, as Chromium takes it."""
    key = x509.load_pem_x509_certificate(pem.encode()).public_key()
    der = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return base64.b64encode(hashlib.sha256(der).digest()).decode()
