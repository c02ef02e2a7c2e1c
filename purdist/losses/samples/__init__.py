"""Losses between the samples of a batch: how they relate, not what they are."""
