"""Where held-out pairs stand, what that is worth, and whether a difference is one."""
