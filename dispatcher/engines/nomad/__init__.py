"""Runs as dispatched jobs of Nomad.

``engine`` is what the rest of the program knows of all this, ``scheduler`` executes runs. Observation:
``observing`` judges each run of one list, with the help of ``children`` (whose job is whose),
``wait_reasons``, ``locations``, ``ended_runs`` and ``tracked_runs`` (what is kept between two lists);
``verdicts`` and ``job_status`` read Nomad's records (pure). ``parents`` knows the jobs that runs are
dispatched from and whether they are still what was rendered; ``output`` streams logs.
``administration`` is what ``disinto apply`` does, ``checks`` what ``disinto doctor`` looks at.
"""
