#!/usr/bin/env bash
# Uses two secrets, and shows that they do not get into the log.
set -euo pipefail
echo "deploying to ${DEPLOY_HOST} with a token of ${#DEPLOY_TOKEN} characters"
echo "what a careless formula prints: ${DEPLOY_TOKEN}"
echo "context: ${DISINTO_CONTEXT}"
echo "done"
