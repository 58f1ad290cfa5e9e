"""Releases: a machine that deploys a branch and returns to the safe commit on failure.

Input
    ``settings``: release.toml · ``deploy_env``: deploy.env · ``env_file``: env files, as systemd reads them
    ``layout``: paths and unit names of one application · ``application``: all of them, read for one root
    ``reference``: the keys of release.toml, for the docs
State
    ``records``: what is in ``run/`` · ``lock``: one deploy at a time, and the request for one more
    ``env_copies``: env files as they were when a commit became safe
Adapters
    ``units``: systemd, behind the Protocol ``Units`` · ``health``: waits for services · ``checkout``: git
    ``kept_files``: files in the checkout that a deploy leaves alone
    ``venvs``: environments, one per commit and service · ``log``: deploy.log
    ``commands``: runs the programs of a deploy · ``captured``: runs others, for what they print
    ``interrupts``: signals
    ``system``: accounts, files of root and units, as an installation changes them
What happens
    ``deploy``: the flow, from the lock to the outcome · ``deployment``: what it works with
    ``transition``: the steps, which both directions share · ``rollout``: their order in a deploy
    ``restore``: the return to the safe commit · ``outcome``: how a deploy can end
    ``plan``: what would happen
    ``status``: what ``disinto release status`` shows
The machine
    ``installation``: what belongs on it, by ``templates/`` · ``install``: what differs, and what was made
    ``manifest``: the record of that · ``doctor``: what is wrong with it · ``webhook``: requests a deploy
Elsewhere
    ``machines``: the formula ``release``, for several machines by SSH · ``__main__``: its program
"""
