"""Loading a folder of images as files and as shards: time to the first batch, images/s, memory.

    python benchmarks/loading.py FOLDER          # of images; its size is that of the model, --size

Each way is measured in a process of its own, on its second epoch, with 0 and 2 workers; the folder's first start, in
which it is decoded into the cache, counts as a way too. Then two ranks of two workers each read an epoch of the shards,
and every image is counted. Writes results/loading.json and the table of docs/training.md.
"""

import argparse
import json
import multiprocessing
import os
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch
from common import write_result, write_table

from glow_app.data import ImageSet, TrainLoader, load_split, train_loader
from glow_app.data.shards.pack import Packing, pack_folder

BATCH_SIZE = 100
WHOLE = {"validation_fraction": 0.0, "test_fraction": 0.0}


def load(way: str, place: str, size: int) -> ImageSet:
    return load_split(way, "train", (3, size, size), root=place, **WHOLE)  # type: ignore[arg-type]


def memory() -> float:
    """Return megabytes that this process and its workers hold, without mapped files; what they share counts once."""
    total = 0
    for process in (os.getpid(), *(child.pid for child in multiprocessing.active_children())):
        lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
        total += sum(int(line.split()[1]) for line in lines if line.startswith(("Pss_Anon:", "Pss_Shmem:")))
    return total / 1e3


def measure(way: str, place: str, size: int, num_workers: int, found: Connection) -> None:
    torch.set_num_threads(1)
    multiprocessing.set_start_method("fork", force=True)  # workers as those of a training, not as this process itself
    base = memory()
    start = time.perf_counter()
    images = load(way, place, size)
    loader = train_loader(images, BATCH_SIZE, num_workers=num_workers)
    batches: Iterator[Any] = iter(loader)
    next(batches)
    first = time.perf_counter() - start
    for _ in batches:
        pass
    start = time.perf_counter()
    held = 0.0
    for number, _ in enumerate(loader):
        if number == len(loader) // 2:
            held = memory() - base
    found.send(
        {"first_batch_s": first, "images_per_s": len(loader) * BATCH_SIZE / (time.perf_counter() - start), "mb": held}
    )


def in_a_process(*arguments: Any) -> dict[str, float]:
    receiver, sender = multiprocessing.Pipe(duplex=False)
    process = multiprocessing.get_context("spawn").Process(target=measure, args=(*arguments, sender))
    process.start()
    result: dict[str, float] = receiver.recv()
    process.join()
    return result


def missed_in_an_epoch(place: str, size: int) -> int:
    """Return how many images two ranks of two workers do not see exactly once in an epoch."""
    images = load("shards", place, size)
    seen: Counter[bytes] = Counter()
    for rank in range(2):
        loader: TrainLoader[Any] = train_loader(images, BATCH_SIZE, num_replicas=2, rank=rank, num_workers=2)
        seen.update(image.numpy().tobytes() for batch, _ in loader for image in batch)
    there = Counter(image.tobytes() for image in images.images)  # some pictures are in a set twice
    return (seen - there).total() + (there - seen).total()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder")
    parser.add_argument("--size", type=int, default=32)
    arguments = parser.parse_args()
    size = arguments.size
    rows, results = [], []
    with tempfile.TemporaryDirectory() as scratch:
        os.environ["GLOW_CACHE"] = str(Path(scratch) / "cache")
        places = {"as they are": Path(scratch) / "as_they_are", f"at {size}x{size}": Path(scratch) / "at_size"}
        for (name, place), shape in zip(places.items(), (None, (3, size, size)), strict=True):
            start = time.perf_counter()
            packing = Packing(shape, shard_bytes=16_000_000, **WHOLE)  # type: ignore[arg-type]
            report = pack_folder(Path(arguments.folder), place, packing)
            print(f"packed {name} in {time.perf_counter() - start:.0f} s, {report.num_bytes / 1e6:.0f} MB", flush=True)
        ways = [("files, first start", "folder", arguments.folder), ("files, later", "folder", arguments.folder)]
        ways += [(f"shards, {name}", "shards", str(place)) for name, place in places.items()]
        for name, way, place in ways:
            for num_workers in (0,) if "first" in name else (0, 2):
                found = in_a_process(way, place, size, num_workers)
                results.append({"way": name, "num_workers": num_workers, **found})
                rates = [f"{found['first_batch_s']:.1f} s", f"{found['images_per_s']:,.0f}", f"{found['mb']:,.0f} MB"]
                rows.append([name, str(num_workers), *rates])
                print(json.dumps(results[-1]), flush=True)
            if "later" in name:
                shutil.rmtree(Path(scratch) / "cache")
        missed = missed_in_an_epoch(ways[-1][2], size)
        num_images = len(load("shards", ways[-1][2], size))
    print(f"two ranks of two workers: {missed} of {num_images} images not seen exactly once")
    settings = {"num_images": num_images, "size": size, "not_seen_once": missed}
    write_result("loading", {"arguments": settings, "results": results})
    header = ["source", "workers", "first batch after", "images/s", "memory"]
    write_table("loading", header, rows, "training.md")


if __name__ == "__main__":
    main()
