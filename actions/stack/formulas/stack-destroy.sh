#!/bin/bash
# Removes a stack; volumes stay. See docs/stacks.md.
exec "${DISINTO_PYTHON:-python3}" -m dispatcher.stack destroy
