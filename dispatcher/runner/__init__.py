"""The program inside a job: unwrap, run, redact. It starts fast, so it imports little.

That is ``errors``, ``host.process_record``, ``host.removal``, and of ``model`` neither
``action`` nor ``result``. import-linter checks it.
"""
