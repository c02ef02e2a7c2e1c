"""What a graph needs to learn: gradients that flow and are right, optimizers, fast kernels."""
