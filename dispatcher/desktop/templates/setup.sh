#!/bin/bash
# Makes this machine a desktop, once. disinto-desktop-setup.service starts it, and again after a reboot
# that interrupted it, so every step may be repeated. No value is part of this script: each is read
# from a file.
set -Eeuo pipefail
lib=/usr/local/lib/disinto-desktop
etc=/etc/disinto-desktop
state=/var/lib/disinto-desktop

stage() {
  printf '%s\n' "$1" >"$state/stage.new"
  mv "$state/stage.new" "$state/stage"
  printf '== %s %s\n' "$(date -u +%FT%TZ)" "$1"
  "$lib/status" >/dev/null || true # the report; whether the desktop answers does not matter here
}

failed() {
  trap - ERR
  printf 'setup.sh failed at line %s\n' "$1"
  stage failed
  exit 1
}

# wait_until SECONDS COMMAND...
wait_until() {
  local end=$((SECONDS + $1))
  shift
  until "$@"; do
    ((SECONDS < end)) || return 1
    sleep 3
  done
}

# install_packages FILE: names of packages, one per line
install_packages() {
  local packages
  mapfile -t packages <"$1"
  "$lib/apt-get" install --yes --no-install-recommends "${packages[@]}"
}

protect() {
  ufw default deny incoming
  ufw default allow outgoing
  for port in 22 80 443; do ufw allow "$port/tcp"; done
  ufw --force enable
  systemctl enable --now disinto-desktop-metadata.service
}

serve_report() {
  rm -f /etc/nginx/sites-enabled/default
  install -m 644 "$etc/nginx/site.conf" /etc/nginx/sites-enabled/disinto-desktop.conf
  nginx -t
  systemctl enable nginx.service
  systemctl restart nginx.service
  systemctl enable --now disinto-desktop-status.timer
}

# The containers of Guacamole run as 1000 and 1001: another user of this number could read their memory.
make_user() {
  id desktop >/dev/null 2>&1 || useradd --create-home --uid 1500 --shell /bin/bash desktop
  if [[ -s $etc/authorized_keys ]]; then
    install -d -m 700 -o desktop -g desktop /home/desktop/.ssh
    install -m 600 -o desktop -g desktop "$etc/authorized_keys" /home/desktop/.ssh/authorized_keys
  fi
  [[ -f $etc/vnc-password ]] || return 0
  vncpasswd -f <"$etc/vnc-password" >"$etc/vnc.passwd.new"
  chown desktop:desktop "$etc/vnc.passwd.new"
  chmod 400 "$etc/vnc.passwd.new"
  mv "$etc/vnc.passwd.new" "$etc/vnc.passwd"
}

prepare_vigilance() {
  [[ -f /etc/vigilance/config.json ]] || return 0
  install -d -m 755 /opt/vigilance
  install -d -m 750 -o desktop -g desktop /var/lib/vigilance /var/lib/vigilance/screenshots
  echo 'Vigilance: its directories and configuration are prepared; the agent itself is not installed.'
}

start_desktop() {
  wait_until 300 docker pull --quiet "$(<"$etc/guacamole/guacd.image")"
  wait_until 300 docker pull --quiet "$(<"$etc/guacamole/guacamole.image")"
  for unit in vnc session guacd guacamole; do
    systemctl enable --now "disinto-desktop-$unit.service"
  done
  wait_until 1200 "$lib/status" # as long as the run waits: a busy host may need minutes for Guacamole
}

serve_desktop() {
  install -d "$etc/nginx/enabled"
  install -m 644 "$etc/nginx/guacamole.conf" "$etc/nginx/enabled/guacamole.conf"
  nginx -t
  systemctl reload nginx.service
}

answers_over_https() {
  curl --silent --show-error --fail --max-time 20 --output /dev/null --cacert "$etc/tls/cert.pem" \
    https://localhost/guacamole/
}

allow_upgrades() {
  local units
  mapfile -t units <"$etc/upgrade-units"
  "$lib/apt-get" install --yes --no-install-recommends unattended-upgrades &&
    install -m 644 "$etc/auto-upgrades" /etc/apt/apt.conf.d/20auto-upgrades &&
    systemctl unmask "${units[@]}" &&
    systemctl enable --now "${units[@]}"
}

trap 'failed "$LINENO"' ERR
install -d -m 755 "$state" "$state/www"
stage installing-packages
"$lib/apt-get" update
install_packages "$etc/packages-first"
protect
serve_report
stage installing-packages # from here on the report can be read
install_packages "$etc/packages"
make_user
prepare_vigilance
"$lib/install-apps"
stage starting-guacamole
start_desktop
stage configuring-https
serve_desktop
stage final-health-check
wait_until 120 answers_over_https
stage active
allow_upgrades || echo 'unattended upgrades could not be switched on'
rm -f "$etc/vnc-password"
touch "$state/ready"
