"""What a fit will take, before it starts: constants of the machine, and estimates from counts."""
