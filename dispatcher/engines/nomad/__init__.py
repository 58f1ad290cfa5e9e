"""Runs as dispatched jobs of Nomad.

``engine`` is the interface to the rest of the program, ``scheduler`` executes runs. Observation:
``observing`` judges each run of one list, with the help of ``children`` (whose job is whose),
``wait_reasons``, ``locations``, ``ended_runs`` and ``tracked_runs`` (state kept between two lists);
``verdicts`` and ``job_status`` read Nomad's records (pure). ``parents`` keeps the jobs that runs
are dispatched from and checks that they are still as rendered; ``output`` streams logs.
``administration`` is what ``disinto apply`` does, ``checks`` what ``disinto doctor`` looks at.
"""
