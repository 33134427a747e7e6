"""Known data sets: how to get and read them."""
