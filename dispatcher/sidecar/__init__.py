"""Sidecars: issues on a project's forge start runs.

* ``reading``: the issues of one project, kept up to date
* ``vetting``: whether whoever set a label may write
* ``watcher``: a thread that does both for all projects
* ``runs``: the runs there were, from git
* ``requests``: runs that an operator asks for
* ``source``: what of it becomes action files; the loop asks it like every source
* ``service``: watcher and source as ``serve`` starts them

Which rule starts what is decided in ``dispatcher.decide.sidecars``. Nothing here starts anything, and
nothing here keeps state that matters: issues are read again, and runs are in git.
"""
