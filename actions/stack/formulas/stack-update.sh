#!/bin/bash
# Changes a stack, and returns to what it was if the new version is not healthy. See docs/stacks.md.
exec "${DISINTO_PYTHON:-python3}" -m dispatcher.stack update
