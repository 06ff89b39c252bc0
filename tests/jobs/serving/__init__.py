"""Makes a package of the folder, so that its endpoint ends with its last test: it holds CPUs that others need whole."""
