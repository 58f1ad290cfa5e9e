"""The control loop of ``serve``: carries out what ``dispatcher.decide`` decides.

Here belongs what needs the lead or its state. What only decides is in ``decide``; what commands do
without leading is in ``operate``; calls of one external system are in its adapter.

* ``serve``, ``serve_once``: the service: term after term; its end with ``--once``
* ``control``, ``round_pace``, ``term``, ``components``, ``component_warnings``: the round of one term
  and how often there is one, the objects that work together in it, the parts it acts through and what
  they have to say to people
* ``leader``, ``lead_note``: which installation may start runs, and its note in the ledger
* ``heads``, ``view``, ``intake``, ``vetting``, ``formulas``, ``arrivals``, ``foreign``,
  ``tombstones``: from a head of the branch to candidates: files read and vetted, results that
  came, ids that ran before
* ``endings``: how the actions ended that others run after
* ``answers``, ``answer_reports``: answers of gates, and how the forge shows them
* ``cancel_requests``: requests to cancel that the ops repo holds
* ``rules``, ``rule_files``, ``reloading``, ``fence``, ``own_settings``: files by which actions are
  judged, reloaded while claims are made; the settings, which are not
* ``decisions``, ``steps``, ``effects``: ``reconcile`` over all actions, and its steps carried out
* ``executor``, ``pollers``, ``polls``, ``nudge``, ``outages``, ``retries``: work on other threads,
  what is asked and when, and what waits after a failure
* ``claim_cache``: the claims as this process knows them
* ``progress_poll``: what runs report about themselves, for people
* ``unwrapping``, ``without_runner``: runs that ended early: why, and whether the formula can have
  started
* ``results``, ``signing``, ``verifying``, ``outgoing``, ``result_writer``, ``result_commit``,
  ``token_bucket``: results: made, signed, recognized as ours, brought to git in few commits
* ``outputs``, ``output_writing``, ``output_keeping``, ``output_retention``: the whole output of runs:
  read, compressed and handed to the writer of results; old months removed
* ``asking_again``: how often webhooks have the gates asked again, by another ``token_bucket``
* ``outbox``, ``reports``, ``missed_reports``, ``end_reporters``: results that are still to be reported
  to the forge, also those that a dispatcher before this one left
* ``sources``, ``looks``, ``written_runs``, ``withdrawn``: actions that the dispatcher writes itself,
  what their sources see, what became of them, and those of them that somebody deleted
* ``inventory``, ``inventory_facts``, ``inventory_search``, ``inventory_cache``, ``inventory_standing``, ``inventory_files``,
  ``inventory_restoring``: what exists because a run created it, by signed results; what these say, kept;
  files that somebody altered, written back
* ``kept_results``: results that the ledger keeps, because somebody changed or removed their files
* ``expiry``, ``expiry_attempts``, ``steady_clock``: what of it is to be destroyed now, how often that is
  tried, and by which clock
* ``archive``, ``archive_passes``, ``cleanup``: finished actions moved away; leftovers of the
  engine forgotten
"""
