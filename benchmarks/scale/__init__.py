"""How far one server carries: two hundred simulated workers, ten thousand trials."""
