"""The demo: the main task, live, with real components, on one machine and without any setup."""
