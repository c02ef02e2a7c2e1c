"""Losses between features of one shape, or brought to one."""
