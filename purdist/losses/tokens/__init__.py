"""Losses between the tokens of a sequence: how they attend to each other."""
