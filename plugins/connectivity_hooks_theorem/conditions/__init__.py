"""The paper's questions about one checkpoint."""
