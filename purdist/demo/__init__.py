"""The demonstration, ``python -m purdist``: what it teaches, and how it tells the results."""
