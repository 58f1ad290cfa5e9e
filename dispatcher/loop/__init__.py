"""The control loop of ``serve``: carries out what ``dispatcher.decide`` decides."""
