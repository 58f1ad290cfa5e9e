"""Effects: each method carries out one step of a plan, in the order that makes it safe to die.

One module for each thing that a step can do: ``judging`` (ask, reject), ``launching`` (launch, resolve
an orphan), ``ending`` (conclude, revoke, restore, retire), ``cancelling`` (cancel, stop what is
superseded). They share ``acting``.
"""
