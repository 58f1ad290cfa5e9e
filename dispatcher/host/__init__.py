"""Files, processes and connections of this machine, their permissions, and the secrets that this process holds."""
