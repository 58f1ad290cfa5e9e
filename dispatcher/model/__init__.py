"""Plain records: what an action, a run and a result are. Nothing here does anything."""
