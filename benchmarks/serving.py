"""A server under load, with one kind of requests at a time; and one client that draws while another restores.

    python benchmarks/serving.py [--checkpoint PATH] [--seconds 60] [--clients 64]

Each client sends one request after another; its edits and scores are of one picture of its own. The picture that is
restored has 12 megapixels. Memory and processor
time are those of the server and its decoding process together. Writes results/serving.json, quoted in docs/serving.md.
"""

import argparse
import asyncio
import base64
import io
import json
import os
import statistics
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import httpx
import torch
from common import serving, write_result

from glow_app.conditioning import AttributeConditioning
from glow_app.models.image_model import ImageModel
from glow_app.pictures.encoding import png_bytes
from glow_app.pictures.images import to_pil
from glow_app.pipeline import load_directions
from glow_app.storage.stored_model import StoredModel, load_model

Answers = list[tuple[int, float]]  # status and seconds
Body = Callable[[int], dict[str, Any]]
EACH = 1_000_000  # numbers of requests for each client


def bodies(model: ImageModel, directions: Sequence[str]) -> dict[str, Body]:
    """Return a function for each endpoint, from the number of the request to its body."""
    images = model.sample(64, 0.7, 1000)
    pictures = [base64.b64encode(png_bytes(to_pil(image))).decode() for image in images]

    def change(number: int) -> dict[str, Any]:
        if isinstance(model.conditioning, AttributeConditioning):
            return {"attributes": {list(model.conditioning.attributes)[-1]: number % 2}}
        given = {"given": images.given[0]} if images.given else {}  # otherwise the server would infer it
        return {"edits": [{"direction": directions[number % len(directions)], "strength": 1}], **given}

    return {
        "sample": lambda number: {"seed": number},
        "edit": lambda number: {"image": pictures[number // EACH % 64], **change(number)},
        "score": lambda number: {"images": [pictures[number // EACH % 64]]},
    }


async def exchange(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, path: str, body: Any) -> tuple[int, Any]:
    """Send a request and return status and answer, without a client library, which would be slower than the server."""
    content = json.dumps(body).encode()
    head = f"POST /v1/{path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    writer.write(f"{head}Content-Length: {len(content)}\r\n\r\n".encode() + content)
    head_lines = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
    length = int(head_lines.partition("content-length: ")[2].partition("\r\n")[0])
    return int(head_lines.split()[1]), json.loads(await reader.readexactly(length))


async def client(port: int, number: int, end: float, path: str, body: Body, answers: Answers) -> None:
    """Send requests until the end."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    count = number * EACH
    while (begun := time.perf_counter()) < end:
        status, answer = await exchange(reader, writer, path, body(count))
        answers.append((status, time.perf_counter() - begun))
        assert status != 200 or path != "sample" or answer["images"][0]["seed"] == count
        count += 1
    writer.close()


def large_photo() -> dict[str, Any]:
    """Return a request to restore a noisy picture of 4000x3000."""
    generator = torch.Generator().manual_seed(0)
    ramp = torch.linspace(40, 200, 4000).expand(3, 3000, 4000)
    noisy = (ramp + 20 * torch.randn(ramp.shape, generator=generator)).clamp(0, 255).to(torch.uint8)
    file = io.BytesIO()
    to_pil(noisy).save(file, format="JPEG", quality=85)
    return {"image": base64.b64encode(file.getvalue()).decode(), "force": True}


async def load(
    port: int, pid: int, seconds: float, num_clients: int, path: str, body: Body, is_restoring: bool
) -> tuple[Answers, float]:
    """Run the clients; return their answers, and the highest memory of the server in megabytes."""
    answers: Answers = []
    held: list[float] = []
    if is_restoring:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=2**28)
        restoring = asyncio.create_task(exchange(reader, writer, "restore", large_photo()))
        await asyncio.sleep(5)  # to decode it
    end = time.perf_counter() + seconds
    clients = [client(port, number, end, path, body, answers) for number in range(num_clients)]
    tasks = [asyncio.create_task(one) for one in clients]
    while time.perf_counter() < end:
        held.append(resident(pid))
        await asyncio.sleep(0.5)
    await asyncio.gather(*tasks)
    if is_restoring:
        assert not restoring.done(), "the restoration ended before the measurement"
        writer.close()
        await asyncio.gather(restoring, return_exceptions=True)
    return answers, max(held)


def read_each(process: int, file: str) -> list[str]:
    """Return a file in /proc of a process and of its children."""
    children = Path(f"/proc/{process}/task/{process}/children").read_text().split()
    return [Path(f"/proc/{member}/{file}").read_text() for member in (process, *children)]


def resident(process: int) -> float:
    """Return the resident memory of a process and its children, in megabytes."""
    return sum(int(text.partition("VmRSS:")[2].split()[0]) for text in read_each(process, "status")) / 1e3


def processor_seconds(process: int) -> float:
    """Return the processor time of a process and its children."""
    fields = [text.rpartition(")")[2].split() for text in read_each(process, "stat")]
    return sum(int(each[11]) + int(each[12]) for each in fields) / os.sysconf("SC_CLK_TCK")


def measure(
    arguments: argparse.Namespace, path: str, body: Body, num_clients: int, is_restoring: bool = False
) -> dict[str, Any]:
    """Measure a new server."""
    options = f"--max-queue={arguments.clients}", "--log-level=warning"
    with serving(arguments.checkpoint, *options, threads=arguments.threads) as (process, port):
        httpx.post(f"http://127.0.0.1:{port}/v1/{path}", json=body(0), timeout=60)
        before = processor_seconds(process)
        work = load(port, process, arguments.seconds, num_clients, path, body, is_restoring)
        answers, megabytes = asyncio.run(work)
        seconds = processor_seconds(process) - before
    latencies = [latency for status, latency in answers if status == 200]
    return {
        "answers": {str(status): number for status, number in Counter(status for status, _ in answers).items()},
        "processor_seconds_each": seconds / len(answers),
        "p50_seconds": statistics.median(latencies),
        "p99_seconds": statistics.quantiles(latencies, n=100)[98],
        "megabytes": megabytes,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", default="fashion-mnist")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--only", nargs="+", help="sample, edit, score, restoring")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    model = load_model(arguments.checkpoint).freeze()
    directions = load_directions(model, *StoredModel(arguments.checkpoint).directions)
    results = {}
    for path, body in bodies(model, list(directions)).items():
        if path in (arguments.only or [path]):
            results[path] = measure(arguments, path, body, arguments.clients)
            print(path, json.dumps(results[path], indent=1), flush=True)
    if not arguments.only or "restoring" in arguments.only:
        beside = "sample while another client restores"
        results[beside] = measure(arguments, "sample", lambda number: {"seed": number, "count": 1}, 1, True)
        print(beside, json.dumps(results[beside], indent=1), flush=True)
    settings = {"clients": arguments.clients, "threads": arguments.threads, "seconds": arguments.seconds}
    write_result("serving", {**settings, "checkpoint": Path(arguments.checkpoint).name, "results": results})


if __name__ == "__main__":
    main()
