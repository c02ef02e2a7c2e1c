"""The zoo as data: what is not in here is called as it is, on rows of numbers."""
