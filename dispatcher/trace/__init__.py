"""A trace per action: OpenTelemetry spans from the fetch that brought it to the push of its result.

Off unless ``[trace] endpoint`` is set; the packages come with the extra ``trace``, and only
``assembly`` imports this package. It only listens: it wraps the adapters of a service and follows its loop, and
whatever fails here changes nothing about a run.

* ``run_spans``: the spans of one run: which trace they belong to, and what they may say
* ``service``: the adapters of a service, wrapped
* ``provider``: the exporter, and what makes the spans

A span holds names, numbers and verdicts that the result file or the audit log shows as well: never a
secret, a context, parameters, output or the message of an error.
"""
