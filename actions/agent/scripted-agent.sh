#!/usr/bin/env bash
# Stands where a coding agent's command goes, behind issue-agent: reads its instructions and answers with
# the first outcome that they offer, or with the one given for the rule. For demos and tests.
#   [agent] command = ["…/issue-agent", "--", "…/scripted-agent.sh", "verify=not_fixed"]
set -euo pipefail

asked=$(cat)
rule=$(sed -n 's/^This is rule \([a-z0-9_-]*\) .*/\1/p' <<<"$asked" | head -n 1)
outcome=$(sed -n '/^Possible outcomes:$/,/^$/s/^- "\([a-z_]*\)":.*/\1/p' <<<"$asked" | head -n 1)
for given in "$@"; do
  if [ "${given%%=*}" = "$rule" ]; then outcome=${given#*=}; fi
done
printf 'read %d characters; answering %s\n' "${#asked}" "$outcome"
printf '{"outcome": "%s", "summary": "answered by a script, without looking"}\n' "$outcome" >"$DISINTO_OUTPUTS"
