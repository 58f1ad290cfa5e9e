"""Files and processes of this machine, and their permissions."""
