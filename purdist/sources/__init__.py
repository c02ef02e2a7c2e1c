"""The doors: what a user brings becomes a `Program` here and nowhere else."""
