"""The listener of ``serve``: a webhook that says "look now", health and metrics."""
