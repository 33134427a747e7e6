"""Mathematics that methods share; none of it belongs to one paper."""
