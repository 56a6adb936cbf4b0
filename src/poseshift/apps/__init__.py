"""What a user does with a run: one command, one module."""
