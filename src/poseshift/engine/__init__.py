"""Training, run folders, evaluation, selection: nothing here names a method."""
