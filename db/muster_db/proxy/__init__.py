"""A proxy beside the database, for more workers than its connections."""
