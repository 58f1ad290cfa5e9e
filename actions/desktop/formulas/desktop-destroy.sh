#!/bin/bash
# Removes a desktop, and waits until the provider no longer lists it. See docs/desktops.md.
exec "${DISINTO_PYTHON:-python3}" -m dispatcher.desktop destroy
