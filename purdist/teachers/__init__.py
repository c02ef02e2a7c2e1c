"""Where a teacher computes: a backend for each way, and the one driver that serves them all."""
