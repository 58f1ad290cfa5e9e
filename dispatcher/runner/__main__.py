"""``python -m dispatcher.runner``. Small, because Python keeps no compiled copy of this file."""

import os
import sys

from dispatcher.runner.program import main

code = main()
sys.stdout.flush()
sys.stderr.flush()
# Finalizing the interpreter would cost milliseconds, and nothing is left to close.
os._exit(code)
