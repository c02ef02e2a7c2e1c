"""Graphs that run: both modes of a network, its files, and the executor."""
