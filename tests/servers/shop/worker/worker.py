"""The worker of the shop: adds an item every second."""

import os
import sqlite3
import time

while True:
    with sqlite3.connect(os.environ["DATABASE"], timeout=30) as database:
        database.execute("INSERT INTO items (name) VALUES (?)", (os.environ["APP_VERSION"],))
    time.sleep(1)
