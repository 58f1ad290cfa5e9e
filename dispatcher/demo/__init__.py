"""The demo: the main job, live, with real parts, on one machine and without any set-up."""
