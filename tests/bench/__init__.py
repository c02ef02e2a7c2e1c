"""What purdist costs, measured: ``python -m tests.bench --help``.

Every number is a ratio of medians taken side by side in one run: A, B, A, B, ... No test
asserts a time.
"""

from purdist import processor

processor.set_for_own_process()
