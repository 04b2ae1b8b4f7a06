"""What is allowed: constraints with their sources, and whether a plan keeps them."""
