"""The programs behind the formulas ``desktop``, ``desktop-destroy`` and ``desktop-reap``: a provisioner.

They run inside a job, as any formula does: secrets and ``DISINTO_*`` in the environment, progress and
outputs in files. So this package knows neither the control loop nor the commands, and no settings of
the dispatcher: what a run reads is its params and the files of its formula, which were approved.

* ``cloud``: the provider as the life cycle sees it, and its errors
* ``certificate``: the TLS certificate of one machine, and its fingerprint
* ``credentials``: derived from Vault's answer, never stored
* ``machine``: one machine, and the user data that makes it a desktop
* ``report``: what a machine reports about itself while it is set up
"""
