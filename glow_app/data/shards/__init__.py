"""Images in shards, files of thousands each: more than memory holds, and more than the disk of one machine."""
