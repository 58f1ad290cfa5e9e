"""Releases: a machine that deploys a branch and returns to the safe commit on failure.

Input
    ``settings``: release.toml · ``deploy_env``: deploy.env and the services' env files · ``layout``: paths
    and unit names of one application · ``application``: all of them, read for one root
    ``reference``: the keys of release.toml, for the docs
State
    ``records``: what is in ``run/`` · ``lock``: one deploy at a time, and the request for one more
    ``status``: what ``disinto release status`` shows
Adapters
    ``units``: systemd, behind the Protocol ``Units``
"""
