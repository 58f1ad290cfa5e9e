"""Runs as dispatched jobs of Nomad.

``engine`` is the interface to the rest of the program, ``scheduler`` executes runs. Observation:
``observing`` judges each run of one list, with the help of ``children`` (whose job is whose),
``wait_reasons``, ``locations``, ``ended_runs`` and ``tracked_runs`` (state kept between two lists);
``run_cache`` applies to the last list what was said since, by ``run_events`` that ``event_follower``
passes on, ``coalesced``, and by the runs themselves;
``verdicts`` and ``job_status`` read Nomad's records (pure). ``parents`` keeps the jobs that runs
are dispatched from and checks that they are still as rendered; ``output`` streams logs.
``administration`` is what ``disinto apply`` does, ``checks`` what ``disinto doctor`` looks at.

``api`` is the client of Nomad's HTTP API; nothing else knows its wire format. ``render`` makes jobspecs
and ACL policies (pure), ``apply``, ``differences`` and ``removal`` bring them to Nomad. ``ledger`` and
``lease`` keep claims and the lead in Nomad's variables. ``outcome_file``, ``progress_file``, ``output_times`` and
``reads`` read what a run left; ``finished`` keeps ended jobs for people. ``settings`` is the
section ``[nomad]``. What holds for every engine is in ``engines.base`` and ``engines.log``.
"""
