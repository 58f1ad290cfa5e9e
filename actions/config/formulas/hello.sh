# The smallest formula: bash, with the action's context and its secrets as environment.
set -euo pipefail

echo "Hello from action $DISINTO_ACTION_ID, approved by ${DISINTO_APPROVED_BY:-nobody}."
echo "It was asked: $DISINTO_CONTEXT"
