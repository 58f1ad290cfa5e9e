"""The programs behind the formulas ``stack``, ``stack-update``, ``stack-destroy`` and ``stack-reap``.

They run inside a job, as any formula does, and know neither the control loop nor the commands. What other
provisioners need as well is in ``dispatcher.provision``.

* ``__main__``: ``python -m dispatcher.stack deploy|update|destroy|reap``, and what they are given
* ``params``: params, and the settings beside the formula
* ``lifecycle``: pure: what is wanted, what was observed and the time give the next step
* ``converge``: looks, and does the next step
* ``deploy``: makes one stack, or leaves nothing behind; destroys one
* ``update``: changes one, or returns to what it was
* ``removal``: removes in reverse order what a search finds
* ``reap``: finds stacks that nothing names
* ``platform``: the server as the life cycle sees it, and its errors
* ``dokploy``, ``dokploy_records``: that server, and what it answers; nothing else knows it
* ``registry``: whether an image can be pulled
* ``environment``: encodes variables for the server
* ``marks``: by which stacks are found
* ``probes``: looks at a stack from outside
"""
