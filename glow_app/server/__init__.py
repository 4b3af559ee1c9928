"""HTTP: an API, one model worker with a bounded queue, limits, and a static page."""
