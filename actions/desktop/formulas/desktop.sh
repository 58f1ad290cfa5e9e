#!/bin/bash
# Makes a desktop at DigitalOcean. See docs/desktops.md.
exec "${DISINTO_PYTHON:-python3}" -m dispatcher.desktop create
