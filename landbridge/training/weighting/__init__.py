"""How the domains' losses are weighted against each other."""
