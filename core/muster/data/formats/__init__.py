"""One reader a file format; the registry is READERS in muster.data.readers."""
