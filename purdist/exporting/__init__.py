"""What is trained, taken out: as a program, as files, as a layer."""
