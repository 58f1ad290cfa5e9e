"""Runs as dispatched jobs of Nomad.

``verdicts`` reads Nomad's records (pure); ``observing`` gathers them; ``parents`` knows the jobs
that runs are dispatched from and whether they are still what was rendered; ``output`` streams logs;
``scheduler`` joins them; ``engine`` is what the rest
of the program knows of all this.
"""
