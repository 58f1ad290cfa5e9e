#!/bin/bash
# Lists machines that nothing names any more, and removes them if remove is set. See docs/desktops.md.
exec "${DISINTO_PYTHON:-python3}" -m dispatcher.desktop reap
