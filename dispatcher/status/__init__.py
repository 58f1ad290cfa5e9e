"""What ``serve`` reports about itself: overview, status file, answers to questions, metrics."""
