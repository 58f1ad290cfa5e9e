# A formula with two secrets. They are in the environment under their own names; where they are
# printed, the log shows [redacted:NAME] in their place. A hash of one would show, so print none.
set -euo pipefail

: "${DEPLOY_USER:?the action must name the secret DEPLOY_USER}"
: "${DEPLOY_TOKEN:?the action must name the secret DEPLOY_TOKEN}"

echo "Deploying what the context says: $DISINTO_CONTEXT"
# Put the real work here. Give secrets to programs on standard input or by the environment, never
# as arguments, which every process of the machine can read.
#   printf 'user = "%s:%s"\n' "$DEPLOY_USER" "$DEPLOY_TOKEN" | curl --config - https://…
echo "Deployed."
