"""One file a task; families share them."""
