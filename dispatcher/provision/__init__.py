"""What programs behind formulas share that create, change or destroy something at a provider.

They run inside a job, as any formula does. So this package knows neither the control loop nor the
commands, and no settings of the dispatcher.

* ``provider``: a provider's errors, by what they prove
* ``http``: requests to its API, each sent once
* ``confidential``: what the words of a provider or machine must not repeat
* ``probe``: one look at a server that is not trusted
* ``params``: params and settings files become records
* ``program``: how such a program begins and ends
* ``waiting``: clock, cancellation, pace and patience
* ``reaping``: what is old enough to be left over
* ``reporting``: progress and outputs of a run
"""
