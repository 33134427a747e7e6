"""Every method in a file of its own; the registry knows them by name."""
