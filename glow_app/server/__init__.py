"""HTTP: an API, one model thread with a bounded queue, limits, and a static page."""
