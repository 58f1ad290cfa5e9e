"""The API of the shop: an ASGI application over SQLite."""

import json
import os
import sqlite3
import subprocess
import sys

NUMBER = 1
STARTS = True

if "uvicorn" in sys.modules:  # and not the smoke test
    subprocess.run(["sh", "hold.sh", "health"], check=True)
    if not STARTS:
        sys.exit("cannot start")


async def app(scope, receive, send):
    if scope["type"] != "http":
        return
    status, body = answer(scope["path"])
    headers = [(b"content-type", b"application/json")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": json.dumps(body).encode()})


def answer(path):
    if path != "/healthz":
        return 404, {}
    try:
        with sqlite3.connect(os.environ["DATABASE"]) as database:
            items = database.execute("SELECT count(*) FROM items").fetchone()[0]
    except sqlite3.Error as error:
        return 503, {"error": str(error)}
    version = os.environ.get("APP_VERSION", "")
    return 200, {"number": NUMBER, "version": version, "items": items}
