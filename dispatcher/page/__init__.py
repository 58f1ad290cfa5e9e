"""The web page: ``disinto web``.

A face of what the commands know: it shows what ``status`` and ``logs`` show, and it
writes what ``dispatch`` and ``cancel`` write, as the person who is logged in. It keeps no truth, no
queue and no power of its own: without it everything works as before.

``app`` builds the application from the modules in ``pages``, each of which declares its pages as
``routing`` has them and returns ``answers``; ``visit`` is one request, its person, its language and what it
carries, such as a ``json_object``.
``site`` has what all requests share. ``protection`` keeps foreign hosts, origins and forms out, and
``sessions`` knows who a browser is; ``operator_link`` lets the operator in. ``people`` knows who people are
by the forge, with the logins under way, ``attempts``; ``rates`` limits how often they ask. ``language`` has the
catalogues, ``formatting`` dates and numbers, ``words`` the terms that data is shown by, and
``rendering`` the templates. ``streams`` sends events for as long as a browser listens. ``problems`` are
errors, for people and for programs (RFC 9457). ``serving`` runs it all on a socket. ``probe`` is the health
check of a container that does.

``index`` lists all runs that are in git, by ``index_queries``, and ``live`` keeps it up to date and follows
the status file of
``serve``; ``board`` is what the overview shows of both, with its ``chart``. ``account`` is all about one
action, ``run_log`` its output, rendered once for all by ``run_output``, and ``acting`` sends what a person asks
for.
``inventory_list`` is what exists, and ``background`` does what takes longer than a request may.
``action_form`` is the form of a new action, and ``preview`` what is shown before it is sent.

``resource_reading`` reads what provisioners make and whose it is, and ``resource_runs`` how far their runs are.
``desktops`` is what the page shows of desktops: ``desktop_reading`` reads them, ``desktop_probes`` asks their
machines, ``desktop_launch`` opens one, ``desktop_wizard`` has the steps of a new one and
``desktop_sending`` sends the actions about them. ``stacks`` is the same of stacks, with ``stack_reading``,
``stack_form``, ``stack_sending``, ``stack_failures`` in plain words, and ``stack_events``, which follow one.

``openapi`` describes all pages.

How a page is added is in ``docs/web.md``.
"""
