#!/bin/bash
# Deploys an application on several machines over SSH, one after another. See docs/releases.md.
exec "${DISINTO_PYTHON:-python3}" -m dispatcher.release machines
