"""May this be trusted: findings about the whole case, and an independent second calculation."""
