"""What is not known of a graph before it is fed: sizes, lengths, values that are looked up."""
