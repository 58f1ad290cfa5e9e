#!/bin/bash
# apt-get, patiently: first boots find apt's locks held by others, and mirrors that do not answer yet.
# DPkg::Lock::Timeout waits for the locks of dpkg, but not for that of the package lists; so whatever
# fails is repeated, for at most WAIT seconds (300) after the first attempt.
set -uo pipefail
end=$((SECONDS + ${WAIT:-300}))
while true; do
  left=$((end - SECONDS))
  if /usr/bin/apt-get --quiet --option DPkg::Lock::Timeout="$((left > 0 ? left : 0))" \
    --option Dpkg::Options::=--force-confdef --option Dpkg::Options::=--force-confold \
    --option Acquire::Retries=3 "$@"; then
    exit 0
  fi
  if ((SECONDS >= end)); then
    printf 'apt-get %s failed for %s seconds\n' "$1" "${WAIT:-300}"
    exit 1
  fi
  echo 'apt-get failed; it is repeated shortly'
  sleep "${PAUSE:-5}"
done
