"""A module as it is: its weights, its wrappers, and the one place where it is run on a batch."""
