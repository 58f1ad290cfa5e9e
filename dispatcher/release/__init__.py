"""Releases: a machine that deploys a branch and returns to the safe commit on failure.

Input
    ``settings``: release.toml · ``deploy_env``: deploy.env and the services' env files · ``layout``: paths
    and unit names of one application · ``application``: all of them, read for one root
    ``reference``: the keys of release.toml, for the docs
State
    ``records``: what is in ``run/`` · ``lock``: one deploy at a time, and the request for one more
    ``status``: what ``disinto release status`` shows
The machine
    ``installation``: what belongs on it, by ``templates/`` · ``install``: what differs, and what was made
    ``manifest``: the record of that · ``doctor``: what is wrong with it · ``webhook``: requests a deploy
Adapters
    ``system``: accounts, files of root and units, as an installation changes them
    ``units``: systemd, behind the Protocol ``Units``
"""
