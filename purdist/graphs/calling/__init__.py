"""Somebody's own code, called with graph values: what it asks, writes and leaves behind."""
