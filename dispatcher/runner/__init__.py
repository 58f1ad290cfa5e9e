"""The program inside a job: unwrap, run, redact. It depends on the model layer alone."""
