"""The program inside a job: unwrap, run, redact. It depends only on the model layer."""
