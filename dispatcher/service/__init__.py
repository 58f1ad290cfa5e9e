"""The service: the loop that carries out what ``dispatcher.reconcile`` decides."""
