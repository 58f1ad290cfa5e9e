"""What tests share: stages, processes and stories."""
