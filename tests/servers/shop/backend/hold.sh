# Waits in the step of this name if a file says so: whoever comes first, until the other file is removed.
if rm "/var/lib/shop/hold-$1" 2>/dev/null; then
  : >"/var/lib/shop/at-$1"
  while [ -e "/var/lib/shop/at-$1" ]; do sleep 0.1; done
fi
