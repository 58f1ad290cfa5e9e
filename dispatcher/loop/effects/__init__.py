"""Effects: each method carries out one step of a plan, in an order that makes a crash safe at any point.

One module per kind of step: ``judging`` (ask, reject), ``launching`` (launch, resolve
an orphan), ``ending`` (conclude, revoke, restore, retire), ``cancelling`` (cancel, stop what is
superseded). They share ``acting``.
"""
