#!/bin/bash
# The X server of the desktop, on the loopback alone; disinto-desktop-vnc.service runs it as the user.
# TigerVNC counts every connection without a login, also a probe's, as a failure of its address, and all
# come from 127.0.0.1: without the threshold five probes would lock the desktop.
set -euo pipefail
umask 077
cookies=$RUNTIME_DIRECTORY/Xauthority
: >"$cookies"
cookie=$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')
printf 'add :1 . %s\n' "$cookie" | xauth -q -f "$cookies" source -
exec /usr/bin/Xtigervnc :1 -auth "$cookies" -nolisten tcp -interface 127.0.0.1 -localhost -rfbport 5901 \
  -SecurityTypes VncAuth -PasswordFile /etc/disinto-desktop/vnc.passwd -BlacklistThreshold 2147483647 \
  -Log '*:stderr:0' -AlwaysShared -AcceptSetDesktopSize -IdleTimeout 0 -geometry 1600x900 -depth 24 -desktop desktop
