"""Floor 1: what the machines share, behind one database URL."""
