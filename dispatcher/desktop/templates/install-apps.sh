#!/bin/bash
# Installs the apps that were chosen, each from a directory of files in apps/: packages, check (one argument
# per line), and perhaps groups of the desktop's user, and a repository with the fingerprints of its keys.
# An app that fails is reported and leaves no repository behind; the desktop does not depend on it.
set -uo pipefail
lib=/usr/local/lib/disinto-desktop
apps=/etc/disinto-desktop/apps
state=/var/lib/disinto-desktop

# Fetches the keys of a repository and compares their fingerprints with the expected ones.
fetch_keys() {
  local directory=$1 keyring=$2 scratch found
  scratch=$(mktemp -d) || return 1
  if curl --silent --show-error --fail --location --proto '=https' --retry 5 --max-time 60 \
    --output "$scratch/keys" "$(<"$directory/key-url")" &&
    found=$(gpg --homedir "$scratch" --batch --show-keys --with-colons "$scratch/keys" |
      awk -F: '$1 == "pub" {primary = 1} $1 == "fpr" && primary {print $10; primary = 0}' | sort -u) &&
    [[ -n $found && $found == "$(sort -u "$directory/key-fingerprints")" ]]; then
    if ! grep -q -- '-----BEGIN' "$scratch/keys"; then
      install -m 644 "$scratch/keys" "$keyring"
    else
      gpg --homedir "$scratch" --batch --yes --dearmor --output "$keyring" "$scratch/keys" && chmod 644 "$keyring"
    fi
  else
    printf 'the keys at %s are not the expected ones\n' "$(<"$directory/key-url")"
    false
  fi
  local code=$?
  rm -rf "$scratch"
  return "$code"
}

add_repository() {
  local app=$1 directory=$apps/$1
  [[ -f $directory/sources ]] || return 0
  install -d -m 755 /etc/apt/keyrings || return 1
  fetch_keys "$directory" "/etc/apt/keyrings/disinto-$app.gpg" || return 1
  install -m 644 "$directory/sources" "/etc/apt/sources.list.d/disinto-$app.sources" || return 1
  install -m 644 "$directory/preferences" "/etc/apt/preferences.d/disinto-$app" || return 1
  "$lib/apt-get" update
}

remove_repository() {
  rm -f "/etc/apt/sources.list.d/disinto-$1.sources" "/etc/apt/preferences.d/disinto-$1"
}

install_app() {
  local app=$1 directory=$apps/$1 packages check groups group
  add_repository "$app" || return 1
  mapfile -t packages <"$directory/packages"
  WAIT=${APP_WAIT:-120} "$lib/apt-get" install --yes --no-install-recommends "${packages[@]}" || return 1
  mapfile -t groups <"$directory/groups"
  for group in "${groups[@]}"; do
    usermod --append --groups "$group" desktop || return 1
  done
  mapfile -t check <"$directory/check"
  runuser --user desktop -- env HOME=/home/desktop timeout 60 "${check[@]}"
}

: >"$state/apps-failed.new"
for directory in "$apps"/*/; do
  [[ -d $directory ]] || continue
  app=$(basename "$directory")
  printf -- '-- app %s\n' "$app"
  if ! install_app "$app"; then
    printf -- '-- app %s FAILED\n' "$app"
    printf '%s\n' "$app" >>"$state/apps-failed.new"
    remove_repository "$app"
  fi
done
mv "$state/apps-failed.new" "$state/apps-failed"
