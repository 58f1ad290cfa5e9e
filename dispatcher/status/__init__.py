"""What ``serve`` reports about itself: overview, status file, metrics."""
