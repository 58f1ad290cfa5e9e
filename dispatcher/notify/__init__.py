"""Notifications: sends people notices of the conditions they chose, through sinks of their choice.

An event becomes a ``Notice`` (``conditions``, pure), which is written to a store in the state
directory, once per sink that wants it, and sent by that sink's own thread. The control loop never
waits for it, and an error here never affects an action.

Own code instead of a library: of apprise (2.2), the one that is kept well and reaches all of these
kinds, four of its 180 services would be used, and it cannot do what is promised here. It answers
"sent" or "not sent", without a reason, so that a refused message, a rate limit and a dead server
are the same; a caller cannot set Matrix's transaction ID or a mail's Message-ID, by which a
repetition is recognized; webhooks are not signed; secrets are parts of addresses.
"""
