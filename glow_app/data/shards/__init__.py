"""Images in shards, files of thousands each: more than memory holds, and more than the disk of one machine."""

from glow_app.data.sharded_images import Shard, ShardedImages, ShardError

__all__ = ["Shard", "ShardError", "ShardedImages"]
