"""Conformance suites that a plugin's author runs on the methods it registers."""
