"""Notifications: tells people, by sinks of their own choice, what they asked to be told of.

What happens becomes a ``Notice`` (``conditions``, pure), which is written to a store in the state
directory, once for each sink that wants it, and sent by that sink's own thread. Nothing here is
waited for by the control loop, and no error here is one of an action.

Own code instead of a library: of apprise (2.2), the one that is kept well and reaches all of these
kinds, four of its 180 services would be used, and it cannot do what is promised here. It answers
"sent" or "not sent", without a reason, so that a refused message, a rate limit and a dead server
are the same; a caller cannot set Matrix's transaction ID or a mail's Message-ID, by which a
repetition is recognized; webhooks are not signed; secrets are parts of addresses.
"""
