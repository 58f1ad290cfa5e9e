"""Runs as processes of this machine, one runner each, which outlive the dispatcher.

``spool`` is a run's folder and its lock; ``launch`` starts a runner; ``sandbox`` puts bubblewrap
around a formula; ``watch`` notices ends; ``leftovers`` ends what a killed runner left; ``output``
reads logs; ``scheduler`` joins them.
"""

from dispatcher.schedulers.local.scheduler import LocalScheduler

__all__ = ["LocalScheduler"]
