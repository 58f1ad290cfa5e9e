"""The programs behind the formulas ``desktop``, ``desktop-destroy`` and ``desktop-reap``: a provisioner.

They run inside a job, as any formula does: secrets and ``DISINTO_*`` in the environment, progress and
outputs in files. So this package knows neither the control loop nor the commands, and no settings of
the dispatcher: what a run reads is its params and the files of its formula, which were approved. What
other provisioners need as well is in ``dispatcher.provision``.

* ``__main__``: ``python -m dispatcher.desktop create|destroy|reap``, and what they are given
* ``params``: params, and the settings beside the formula
* ``lifecycle``: pure: a record, what was observed and the time give the next record
* ``create``: makes one desktop, or leaves nothing behind
* ``destroy``: removes what has a tag, until nothing is listed
* ``reap``: finds machines that nothing names
* ``apps``: the catalogue of apps
* ``cloud``: the provider as the life cycle sees it, and its errors
* ``digitalocean``: that provider, the only module that knows it
* ``tags``: by which machines are found
* ``probes``: looks at a machine from outside
* ``certificate``: the TLS certificate of one machine, and its fingerprint
* ``credentials``: derived from Vault's answer, never stored
* ``gateway``: a desktop's host name at a gateway
* ``guacamole``: the signed and encrypted document that logs a person in at one
* ``machine``: one machine, and the user data that makes it a desktop
* ``report``: what a machine reports about itself while it is set up
"""
