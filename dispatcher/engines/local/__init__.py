"""Runs as processes of this machine, one runner each, which outlive the dispatcher.

``spool`` is a run's folder and its lock; ``launch`` starts a runner; ``runners`` says whose process
a number is; ``sandbox`` puts bubblewrap around a formula, and ``hiding`` finds what it must not see;
``monitor`` notices ends; ``endings`` says how a run ended; ``leftovers`` ends what a killed runner left;
``output`` reads logs; ``scheduler`` joins them; ``engine`` is what the rest of the program knows
of all this.
"""
