"""Plain records of actions, runs and results, without behaviour of their own."""
