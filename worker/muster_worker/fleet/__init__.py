"""Workers in containers on Docker engines, this machine's or others'."""
