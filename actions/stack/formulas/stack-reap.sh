#!/bin/bash
# Lists stacks that nothing names any more, and removes them if remove is set. See docs/stacks.md.
exec "${DISINTO_PYTHON:-python3}" -m dispatcher.stack reap
