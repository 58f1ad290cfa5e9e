#!/bin/bash
# Deploys a stack on a Dokploy server. See docs/stacks.md.
exec "${DISINTO_PYTHON:-python3}" -m dispatcher.stack deploy
