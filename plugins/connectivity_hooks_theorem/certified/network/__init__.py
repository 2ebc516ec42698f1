"""A network as the theorem sees it."""
