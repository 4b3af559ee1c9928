"""Two machines train one run, and one of them is lost and comes back: `python two_nodes.py FOLDER [--namespaces]`.

A machine is a torchrun of one process, alone or, with ``--namespaces`` (as root), in a network namespace of its own.
When the second has made some steps after a checkpoint, it is killed with its processes and started again; torchrun on
the first waits for it, and both go on with ``--resume auto``.
"""

import argparse
import csv
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
OPTIONS = [
    f"--config={REPOSITORY / 'configs/digits.yaml'}",
    f"--config={REPOSITORY / 'configs/trainer/ddp.yaml'}",
    "--trainer.accelerator=cpu",
    "--trainer.num_nodes=2",
    "--model.flow.num_steps=1",
    "--model.flow.hidden_channels=4",
    "--data.batch_size=8",
    "--data.limit=160",
    "--trainer.max_epochs=8",
    "--trainer.check_val_every_n_epoch=1",
    "--trainer.log_every_n_steps=1",
    "--saving.every_n_steps=4",
    "--samples.num_images=10",
]
NAMESPACES = ("glow-first", "glow-second")
ADDRESSES = ("10.213.7.1", "10.213.7.2")


def lay_cable() -> None:
    """Make two network namespaces and a cable between them."""
    remove_cable()
    commands = [f"ip netns add {name}" for name in NAMESPACES]
    commands.append(f"ip link add glow-a netns {NAMESPACES[0]} type veth peer name glow-b netns {NAMESPACES[1]}")
    for name, device, address in zip(NAMESPACES, ("glow-a", "glow-b"), ADDRESSES, strict=True):
        commands += [f"ip -n {name} address add {address}/24 dev {device}"]
        commands += [f"ip -n {name} link set {device} up", f"ip -n {name} link set lo up"]
    for command in commands:
        subprocess.run(command.split(), check=True)


def remove_cable() -> None:
    """Remove the namespaces, and with them the cable."""
    for name in NAMESPACES:
        subprocess.run(["ip", "netns", "del", name], check=False, stderr=subprocess.DEVNULL)


def machine(index: int, folder: Path, port: int, namespaces: bool) -> subprocess.Popen[str]:
    """Start the training on one machine."""
    host = ADDRESSES[0] if namespaces else "127.0.0.1"
    launcher = ["-m", "torch.distributed.run", "--nnodes=2", "--nproc_per_node=1", "--max-restarts=3"]
    launcher += ["--rdzv-backend=c10d", "--rdzv-id=night", f"--rdzv-endpoint={host}:{port}"]
    launcher += [f"--rdzv-conf=is_host={int(index == 0)}", f"--local-addr={ADDRESSES[index] if namespaces else host}"]
    launcher += ["-m", "glow_app.cli"]
    inside = ["ip", "netns", "exec", NAMESPACES[index]] if namespaces else []
    command = [*inside, sys.executable, *launcher, "fit", *OPTIONS, "--resume=auto", f"--run_dir={folder}"]
    device = {"GLOO_SOCKET_IFNAME": ("glow-a", "glow-b")[index]} if namespaces else {}
    # Without the second variable torchrun waits in vain for the address of a store when a machine comes back.
    settings = {"OMP_NUM_THREADS": "1", "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1", "PYTHONPATH": str(REPOSITORY)}
    environment = {**os.environ, **settings, **device}
    log = folder.with_name(f"{folder.name}-{index}.log").open("a")
    return subprocess.Popen(command, env=environment, text=True, stdout=log, stderr=log, start_new_session=True)


def kill_machine(process: subprocess.Popen[str]) -> None:
    """Kill a torchrun and the processes that it started, as the loss of the machine would."""
    children = subprocess.run(["pgrep", "-P", str(process.pid)], capture_output=True, text=True, check=False)
    for pid in [process.pid, *map(int, children.stdout.split())]:
        os.kill(pid, signal.SIGKILL)
    process.wait()


def steps_logged(folder: Path) -> int:
    try:
        with (folder / "metrics.csv").open() as file:
            return max((int(row["step"]) for row in csv.DictReader(file) if row["step"]), default=0)
    except FileNotFoundError:
        return 0


def train(folder: Path, port: int, namespaces: bool, lose_at: int | None) -> None:
    """Train on both machines; lose the second after so many steps."""
    machines = [machine(index, folder, port, namespaces) for index in range(2)]
    try:
        if lose_at is not None:
            while steps_logged(folder) < lose_at:
                assert all(one.poll() is None for one in machines), "ended too early"
                time.sleep(0.05)
            kill_machine(machines[1])
            print(f"killed the second machine at step {steps_logged(folder)}", flush=True)
            machines[1] = machine(1, folder, port, namespaces)
        codes = [one.wait(timeout=240) for one in machines]
        assert codes == [0, 0], codes
    finally:
        for one in machines:
            if one.poll() is None:
                kill_machine(one)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--namespaces", action="store_true")
    parser.add_argument("--port", type=int, default=29511)
    arguments = parser.parse_args()
    if arguments.namespaces:
        lay_cable()
    try:
        train(arguments.folder / "whole", arguments.port, arguments.namespaces, None)
        train(arguments.folder / "lost", arguments.port + 1, arguments.namespaces, 30)
    finally:
        if arguments.namespaces:
            remove_cable()


if __name__ == "__main__":
    main()
