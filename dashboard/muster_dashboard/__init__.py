"""Floor 2: what a browser sees; never imports torch."""
