"""What the commands do. ``dispatcher.cli`` parses, calls and prints.

Here belongs the work of a command that runs outside of ``serve``. What needs the lead is in ``loop``;
options, tables and texts for a terminal are in ``cli``.

* ``submission``, ``submission_client``, ``preflight``, ``operator_files``, ``params_check``:
  ``dispatch``, ``validate``: a file checked, its params by the formula's schema, and sent
* ``files``: the files of one action, read
* ``again``, ``repetitions``: ``again``: an action's file under a new id, and the chain of them
* ``proposing``, ``proposed``, ``pull_request_text``: pull requests with a file: opened, found, its
  text
* ``follow``, ``lookup``, ``forecast``, ``planned``, ``author_view``: ``watch``, ``status``, ``plan``:
  what is so, with a dispatcher's rights or an author's
* ``cancel``, ``request_cancel``: ``cancel``: by the ledger and the engine, or by a request in the
  ops repo
* ``ended_output``, ``kept_output``: ``logs`` of a run that has ended, and what the ops repository
  keeps of it
* ``evidence``: ``verify``: the files around a result, and the keys
* ``schedules``: ``schedule``: the schedules and their slots
* ``sidecars``: ``sidecar``: what rules would start, and a run by hand
* ``doctor``, ``machine_checks``, ``ops_repo_checks``, ``policy_checks``, ``in_force_checks``, ``gate_checks``,
  ``approval_checks``, ``signer_checks``, ``schedule_checks``, ``sidecar_checks``, ``token_checks``,
  ``sink_checks``, ``desktop_checks``, ``web_checks``, ``trial_run``: ``doctor``, in which order, and the checks
* ``provisioned``, ``provisioned_actions``: what desktops and stacks have in common: what exists by the
  inventory and is being created, and the actions about them
* ``stacks``: ``stack``: those of the inventory, and the actions about them
* ``desktops``, ``desktop_owner``: ``desktop``: those of the inventory, the actions about
  them, and whose they are
* ``desktop_access``, ``desktop_opening``, ``desktop_link``: a person's session at a desktop, and the link
  that leads there
* ``desktop_gateway``: ``desktop gateway``: the files of an nginx that leads to desktops
* ``probe``: ``inventory --probe``: whether things can be reached
* ``apply``, ``mounts_in_use``: ``apply``: Vault and the engine brought to the settings
* ``scaffold``, ``scaffold_sidecars``, ``scaffold_desktops``, ``scaffold_settings``, ``schema``: ``init`` and
  ``schema``
"""
