"""Runs as processes of this machine, one runner each, which outlive the dispatcher.

``spool`` is a run's directory and its lock; ``launch`` starts a runner; ``runners`` checks whose
process a pid is; ``isolation`` decides how a run is isolated, ``sandbox`` wraps a formula in
bubblewrap, and ``hiding`` lists what it must not see; ``monitor`` notices the end of runners;
``endings`` determines outcomes; ``leftovers`` kills the processes of a killed runner; ``output``
reads logs; ``scheduler`` combines them; ``engine`` is the interface to the rest of the program.
"""
