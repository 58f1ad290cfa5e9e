"""The listener of ``serve``: a webhook that triggers a poll, health and metrics. The web page is ``page``."""
