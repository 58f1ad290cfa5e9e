#!/bin/bash
# Returns when the X server accepts connections.
for _ in {1..300}; do
  xset q >/dev/null 2>&1 && exit 0
  sleep 0.1
done
echo 'the X server did not answer for 30 seconds'
exit 1
