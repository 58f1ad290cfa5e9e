"""What ``serve`` reports about itself, and what other commands read of it.

* ``tracker``: the interface by which the loop reports: status and events
* ``snapshot``: the last status, for the rest of the process
* ``overview``, ``action_record``: what runs, what waits and why; one action as ``--json`` prints it
* ``status_file``, ``last_results``: the overview and the newest results in a file, for other commands
* ``questions``, ``asking``: a socket on which other commands are answered; and their side of it
* ``standby``: a ``serve`` that waits for the lead
* ``metrics``: for Prometheus
"""
