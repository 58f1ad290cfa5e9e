"""Smoke test: the new code with the migrated database."""

import sys

import app

status, body = app.answer("/healthz")
if status != 200:
    sys.exit(f"{status}: {body}")
