#!/usr/bin/env bash
# Stands where an agent's command goes, such as `claude -p`: reads what it is asked on standard
# input and prints it. Try it with [agent] command = ["…/example-agent.sh", "--model", "{model}"].
set -euo pipefail

asked=$(cat)
printf 'model: %s\n' "${DISINTO_MODEL:-none}"
printf 'tools: %s\n' "${DISINTO_TOOLS:-none}"
printf 'arguments: %s\n' "$*"
printf 'asked, %d characters:\n' "${#asked}"
printf '%s\n' "$asked" | sed 's/^/  | /'
