"""Plain records: what an action, a run and a result are. Nothing here does anything.

Here belongs what several layers pass to each other. A record that one package alone uses is in that
package.

* ``action``, ``names``, ``references``, ``cancel_request``: what people write: an action, the names
  in it and whether they exist, a request to cancel
* ``source``: what the dispatcher wrote an action for
* ``schedule``, ``slots``: schedules, and the points in time that their cron expressions mean
* ``paths``: where the files of an ops repo stand
* ``merges``: what the commits say that a forge makes of a pull request
* ``formula_files``, ``inventory``, ``inventory_entry``: the files beside a formula; what a run may do to
  the inventory, and the files of that
* ``approval_need``: how many approvals an action needs, and whose
* ``run``, ``verdicts``, ``mounts``, ``dynamic``, ``derived``, ``job_class``: a run, how it may end, and what it
  may have
* ``payload``, ``progress``, ``time_index``: what scheduler and runner exchange, and when output was
  written
* ``result``: the result file
* ``health``, ``notice``, ``checks``: what people are shown: the state of a dispatcher,
  notifications, checks
* ``times``, ``zones``: times as text, and on clocks in time zones
* ``backoff``: the pauses between tries
* ``sure_time``: the time as far as clocks can be relied on
"""
