"""Where networks come from: what a user brings becomes a `Program` here and nowhere else."""
