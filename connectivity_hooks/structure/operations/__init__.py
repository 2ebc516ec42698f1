"""What operations are to us: `table` has a row for each; `call` is how a row's recogniser sees a graph node."""
