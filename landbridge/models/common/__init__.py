"""What two or more families of methods share."""
