"""muster doctor: whether this machine and its database suit a search."""
