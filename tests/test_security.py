"""What files from elsewhere may do: nothing that SECURITY.md does not say."""

import os
import re
import struct
import subprocess
import sys
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from registry import tiny_model
from traced_memory import memory_below

from glow_app.generation import Direction, load_directions, save_direction
from glow_app.generation.tensor_file import load_latents, read_content
from glow_app.messages import format_warning, printable
from glow_app.storage.checkpoint import read_checkpoint
from lightning_modules.runs.run_folder import prepare_run_dir, release_run_dir

ROOT = Path(__file__).parents[1]


@pytest.fixture
def honest(tmp_path: Path) -> Path:
    """A checkpoint of which there is nothing to say against."""
    model = tiny_model()
    weights = {f"model.{name}": value for name, value in model.state_dict().items()}
    path = tmp_path / "honest.ckpt"
    torch.save({"state_dict": weights, "glow_app": {"model": model.config, "training": {}}}, path)
    return path


def entries(path: Path) -> list[tuple[str, bytes]]:
    with zipfile.ZipFile(path) as archive:
        return [(info.filename, archive.read(info)) for info in archive.infolist()]


def write(path: Path, content: list[tuple[str, bytes]], method: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of two entries of one name
        for name, data in content:
            archive.writestr(name, data)
    return path


def refusal(path: Path) -> str:
    with pytest.raises(ValueError, match=re.escape(str(path))) as caught:
        read_checkpoint(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# F4: archives


def test_an_archive_that_python_wrote_is_read_like_torchs(honest: Path, tmp_path: Path) -> None:
    found = read_checkpoint(write(tmp_path / "rewritten.ckpt", entries(honest)))["state_dict"]
    expected = read_checkpoint(honest)["state_dict"]
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_compressed_entries_are_refused_before_they_are_read(honest: Path, tmp_path: Path) -> None:
    path = write(tmp_path / "bomb.ckpt", entries(honest), zipfile.ZIP_DEFLATED)
    assert "is compressed" in refusal(path)


def test_a_bomb_takes_no_memory(honest: Path, tmp_path: Path) -> None:
    path = tmp_path / "bomb.ckpt"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name, data in entries(honest):
            archive.writestr(name, data)
        with archive.open("honest/data/9999", "w", force_zip64=True) as entry:
            for _ in range(1024):
                entry.write(bytes(1 << 20))
    assert path.stat().st_size < 3 << 20
    head = "from pathlib import Path\nfrom glow_app.storage.checkpoint import read_checkpoint\n"
    head += f"path = Path({str(path)!r})\n"
    attempt = "try: read_checkpoint(path)\nexcept ValueError as error: assert 'compressed' in str(error)\nelse: 1 / 0"
    assert peak_of(head + attempt) < peak_of(head) + 64


def peak_of(code: str) -> float:
    """Return the megabytes that a program takes at most."""
    tell = "\nprint(next(line for line in open('/proc/self/status') if line.startswith('VmHWM')).split()[1])"
    done = subprocess.run([sys.executable, "-c", code + tell], capture_output=True, text=True, check=True)
    return int(done.stdout) / 1024


def test_two_entries_of_one_name_are_refused(honest: Path, tmp_path: Path) -> None:
    content = entries(honest)
    assert "two entries of one name" in refusal(write(tmp_path / "twice.ckpt", [*content, content[0]]))


def test_another_archive_is_refused(tmp_path: Path) -> None:
    assert "not one that torch.save wrote" in refusal(write(tmp_path / "a.ckpt", [("a/b", b"c")]))
    assert "not one that torch.save wrote" in refusal(write(tmp_path / "a.ckpt", [("a/data.pkl", b"."), ("b/c", b"")]))
    assert "is empty" in refusal(write(tmp_path / "empty.ckpt", []))


def directory_entry(content: bytes | bytearray, number: int) -> int:
    """Return where the directory's entry of this number begins."""
    place = content.index(b"PK\1\2")
    for _ in range(number):
        place = content.index(b"PK\1\2", place + 4)
    return place


@pytest.mark.parametrize(
    ("offset", "form", "value", "words"),
    [
        (42, "<I", 0, "File name in directory .* differ"),  # two entries at one place
        (20, "<I", 1 << 30, "compressed or encrypted|damaged"),  # packed size
        (24, "<I", 1 << 30, "compressed or encrypted|damaged"),  # size
        (8, "<H", 0x801, "compressed or encrypted"),  # flags
        (10, "<H", 8, "compressed or encrypted"),  # method
        (16, "<I", 7, "Bad CRC-32 for file 'honest/data/"),
        (46, "<B", 0, "not one that torch.save wrote"),  # a name that ends early
    ],
)
def test_a_lie_in_the_directory_is_found(
    honest: Path, tmp_path: Path, offset: int, form: str, value: int, words: str
) -> None:
    content = bytearray(write(tmp_path / "lie.ckpt", entries(honest)).read_bytes())
    struct.pack_into(form, content, directory_entry(content, 5) + offset, value)
    (tmp_path / "lie.ckpt").write_bytes(content)
    assert re.search(words, refusal(tmp_path / "lie.ckpt"))


@pytest.mark.parametrize(
    ("room", "words"),
    [(-1, "Bad CRC-32 for file 'honest/data.pkl'"), (0, "its data.pkl cannot be read"), (1, "larger than the file")],
)
def test_an_entry_that_claims_more_bytes_than_it_has_is_refused(
    honest: Path, tmp_path: Path, room: int, words: str
) -> None:
    path, reverse = tmp_path / "lie.ckpt", entries(honest)[::-1]  # data.pkl is the last
    content = bytearray(write(path, reverse).read_bytes())
    own = len(reverse[-1][1])
    size = own + 20 if room < 0 else len(content) - sum(len(data) for _, data in reverse[:-1]) + room
    struct.pack_into("<II", content, directory_entry(content, len(reverse) - 1) + 20, size, size)
    path.write_bytes(content)
    assert words in refusal(path)


def test_what_stands_before_and_behind_an_archive_changes_nothing(honest: Path, tmp_path: Path) -> None:
    content, path = honest.read_bytes(), tmp_path / "more.ckpt"
    torch.save({"state_dict": {"x": torch.zeros(1)}, "glow_app": {"model": {}, "training": {}}}, path)
    other = path.read_bytes()
    commented = bytearray(content)
    struct.pack_into("<H", commented, len(content) - 2, 5)
    expected = read_checkpoint(honest)
    for changed in (
        b"x" * 100 + content,
        content + b"x" * 100,
        content + content,
        other + content,
        commented + b"hello",
    ):
        path.write_bytes(changed)
        again = read_checkpoint(path)
        assert again["glow_app"] == expected["glow_app"]
        assert again["state_dict"].keys() == expected["state_dict"].keys()
        assert all(torch.equal(value, expected["state_dict"][name]) for name, value in again["state_dict"].items())
    path.write_bytes(content + bytes(100_000))
    refusal(path)


def test_another_byte_order_is_refused(honest: Path, tmp_path: Path) -> None:
    content = [(name, b"big" if name.endswith("byteorder") else data) for name, data in entries(honest)]
    assert content != entries(honest)
    assert "another byte order" in refusal(write(tmp_path / "big.ckpt", content))


def test_too_many_entries_are_refused_before_they_are_listed(tmp_path: Path) -> None:
    count = 300_000
    path = tmp_path / "many.ckpt"
    head = struct.pack("<4sHHHHHHIIIHHHHHII", b"PK\1\2", 20, 20, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0) + b"a"
    directory = head * count
    end64 = struct.pack("<4sQHHIIQQQQ", b"PK\6\6", 44, 45, 45, 0, 0, count, count, len(directory), 0)
    locator = struct.pack("<4sIQI", b"PK\6\7", 0, len(directory), 1)
    end = struct.pack("<4sHHHHIIH", b"PK\5\6", 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0)
    path.write_bytes(directory + end64 + locator + end)
    with memory_below(1e6):
        assert "too large" in refusal(path)


def with_pickle(honest: Path, path: Path, change: Callable[[bytes], bytes]) -> Path:
    content = [(name, change(data) if name.endswith("data.pkl") else data) for name, data in entries(honest)]
    assert content != entries(honest)
    return write(path, content)


@pytest.mark.parametrize(
    "code",
    [
        b"cbuiltins\nbytearray\n(J\xff\xff\xff\x7ftR.",
        b"c_codecs\nencode\n(X\x01\x00\x00\x00aX\x04\x00\x00\x00zliptR.",
        b"ctorch._utils\n_rebuild_qtensor\n)R.",
        b"ctorch._tensor\n_rebuild_from_type_v2\n)R.",
        b"cos\nsystem\n(X\x04\x00\x00\x00truetR.",
        b"\x8c\x02os\x8c\x06system\x93.",
        b"(cos\nsystem\no.",
        b"\x82\x01.",
    ],
)
def test_a_pickle_calls_nothing_but_what_tensors_need(honest: Path, tmp_path: Path, code: bytes) -> None:
    message = refusal(with_pickle(honest, tmp_path / "code.ckpt", lambda _: b"\x80\x02" + code))
    assert "holds code" in message or "cannot be read" in message


def test_a_tensor_is_not_larger_than_its_bytes(tmp_path: Path) -> None:
    base: dict[str, Any] = {"state_dict": {}, "glow_app": {"model": {}, "training": {}}}
    path = tmp_path / "wide.ckpt"
    torch.save({**base, "x": torch.zeros(1).expand(1 << 20, 1 << 20)}, path)
    assert "reaches beyond its bytes" in refusal(path)
    torch.save({**base, "x": torch.arange(4.0)}, path)
    changed = with_pickle(path, tmp_path / "long.ckpt", lambda data: data.replace(b"K\x04tq", b"K\x7ftq"))
    assert "has another size than its bytes" in refusal(changed)
    many = torch.zeros(1000)
    torch.save({**base, "x": [many.view(10, 100)] + [many[:1000] for _ in range(100)]}, path)
    assert "larger than the file" in refusal(path)


def called(module: str, name: str) -> bytes:
    return f"c{module}\n{name}\n".encode()


def stored(num_bytes: int = 16, key: bytes = b"X\1\0\0\0000") -> bytes:
    """Return what names the numbers of an entry."""
    count = b"J" + struct.pack("<i", num_bytes // 4)
    return b"(X\7\0\0\0storage" + called("torch", "FloatStorage") + key + b"X\3\0\0\0cpu" + count + b"tQ"


def tensor(size: bytes, stride: bytes, offset: bytes = b"K\0", storage: bytes = stored()) -> bytes:
    return called("torch._utils", "_rebuild_tensor_v2") + b"(" + storage + offset + size + stride + b"\x89}tR"


COUNTER, SIZE, PARAMETER = (
    called(*name) for name in (("collections", "Counter"), ("torch", "Size"), ("torch._utils", "_rebuild_parameter"))
)
MINUS_ONE, HUGE = b"J\xff\xff\xff\xff", b"\x8a\x08" + struct.pack("<q", 1 << 62)
DOUBLED = b")q\0" + b"".join(b"h%ch%c\x86q%c" % (number, number, number + 1) for number in range(40))
MANY = b"(" + b"K\1" * 100_000 + b"t"
PICKLES = {
    "a memo of a hundred million": b"\x80\x02}r" + struct.pack("<I", 10**8) + b".",
    "the same as text": b"\x80\x02}p100000000\n.",
    "a key of doubled tuples": b"\x80\x02}(" + DOUBLED + b"K\0u.",
    "keys whose hashes collide": b"\x80\x02}("
    + b"".join(b"\x8a\x0a" + ((2**61 - 1) * number).to_bytes(10, "little") + b"K\0" for number in range(1, 20_000))
    + b"u.",
    "a set": b"\x80\x04\x8f(K\0\x90.",
    "attributes of a storage": b"\x80\x02X\x01\0\0\0ac" + b"torch\ndevice\n" + b"}b.",
    "an attribute that is a method": called("collections", "OrderedDict") + b")R}X\5\0\0\0items" + SIZE + b"sb.",
    "a storage named by doubled tuples": b"](" + DOUBLED + b"e" + stored(key=b"h\x28") + b".",
    "a counter of doubled tuples": b"](" + DOUBLED + b"e" + COUNTER + b"}\x85RX\1\0\0\0ah\x28s.",
    "copies of a dictionary": b"}(" + b"".join(b"M%bN" % struct.pack("<H", key) for key in range(10_000)) + b"uq\0"
    + COUNTER + b"q\1(" + b"h\1h\0\x85R" * 1_000 + b"t.",
    "copies of a tuple": MANY + b"q\0" + SIZE + b"q\1(" + b"h\1h\0\x85R" * 1_000 + b"t.",
    "copies of a list": b"]" + MANY[:-1] + b"eq\0" + SIZE + b"q\1(" + b"h\1h\0\x85R" * 1_000 + b"t.",
    "a hundred thousand arguments": MANY + b"q\0" + PARAMETER + b"q\1(" + b"h\1h\0R" * 10_000 + b"t.",
    "a hundred thousand dimensions": tensor(b"(" + b"J\xff\xff\xff\x7f" * 100_000 + b"t", MANY) + b".",
    "a hundred thousand tensors": called("torch._utils", "_rebuild_tensor_v2")
    + b"q\0(" + stored() + b"K\0K\1\x85K\1\x85\x89}tq\1(" + b"h\0h\1R" * 100_000 + b"t.",
    "tensors of many dimensions": called("torch._utils", "_rebuild_tensor_v2")
    + b"q\0(" + stored(4 << 20) + b"K\0" + (b"(" + b"K\1" * 64 + b"t") * 2 + b"\x89}tq\1("
    + b"h\0h\1R" * 50_000 + b"t.",
    "a size of a tensor": SIZE + tensor(b"J\x40\x42\x0f\0\x85", b"K\1\x85", storage=stored(4 << 20)) + b"\x85R.",
    "arguments of a tensor": SIZE + tensor(b"J\x40\x42\x0f\0\x85", b"K\1\x85", storage=stored(4 << 20)) + b"R.",
    "a storage of a tensor": tensor(b"J\x40\x42\x0f\0\x85", b"K\1\x85", storage=stored(4 << 20)) + b"Q.",
    "a tensor of a tensor": tensor(b"K\4\x85", b"K\1\x85", storage=tensor(b"K\4\x85", b"K\1\x85")) + b".",
    "a size below zero": tensor(MINUS_ONE + b"\x85", b"K\0\x85") + b".",
    "two sizes below zero": tensor(MINUS_ONE * 2 + b"\x86", b"K\0K\0\x86") + b".",
    "a stride below zero": tensor(b"K\4\x85", MINUS_ONE + b"\x85", b"K\3") + b".",
    "an offset below zero": tensor(b"K\1\x85", b"K\1\x85", MINUS_ONE) + b".",
    "an offset beyond the end": tensor(b"K\1\x85", b"K\1\x85", b"K\4") + b".",
    "strides beyond the end": tensor(b"K\2\x85", HUGE + b"\x85") + b".",
    "strides whose sum overflows": tensor(b"K\2K\2\x86", HUGE * 2 + b"\x86") + b".",
    "sizes whose product overflows": tensor(HUGE * 2 + b"\x86", b"K\0K\0\x86") + b".",
    "a stride of zero": tensor(HUGE + b"\x85", b"K\0\x85") + b".",
    "quantised numbers": stored(64).replace(b"FloatStorage", b"quint8") + b".",
    "complex numbers": stored(8).replace(b"FloatStorage", b"complex64") + b".",
    "a module that torch imports when it is named": called("torch", "_dynamo") + b".",
}  # fmt: skip


@pytest.mark.parametrize("name", PICKLES)
def test_a_pickle_of_a_few_bytes_takes_no_more(name: str, tmp_path: Path) -> None:
    path = tmp_path / "x.ckpt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", PICKLES[name])
        archive.writestr("archive/data/0", bytes(4 << 20 if b"J\0\0\x10\0" in PICKLES[name] else 16))
        archive.writestr("archive/version", "3\n")
    words = "another project" if name == "a memo of a hundred million" else "damaged|holds code"
    with memory_below(50e6), pytest.raises(ValueError, match=words):
        read_checkpoint(path)


def test_a_pipe_among_directions_or_in_a_run_is_left_alone(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "smile.safetensors")
    assert load_directions(tiny_model(), tmp_path) == {}
    with pytest.raises(ValueError, match="neither a file nor a folder"):
        prepare_run_dir(tmp_path, None, False)


# Other files


@pytest.mark.parametrize("name", [".lock", "metrics.csv", "samples", "wandb_id"])
def test_a_run_does_not_write_through_links(tmp_path: Path, name: str) -> None:
    victim, run = tmp_path / "victim", tmp_path / "run"
    victim.write_text("mine")
    run.mkdir()
    (run / name).symlink_to(victim)
    with pytest.raises(ValueError, match="is a link"):
        prepare_run_dir(run, run / "last.ckpt", begin_anew=False)
    release_run_dir(run)
    assert victim.read_text() == "mine"


def test_a_run_does_not_write_through_links_below(tmp_path: Path) -> None:
    run = tmp_path / "run"
    (tmp_path / "secret").mkdir()
    for folder in ("wandb/run-1", "model"):
        (run / folder).mkdir(parents=True)
        (run / folder / "latest").symlink_to(tmp_path / "secret")
    with pytest.raises(ValueError, match=r"model/latest is a link out of the folder"):
        prepare_run_dir(run, run / "last.ckpt", begin_anew=False)
    (run / "model/latest").unlink()
    prepare_run_dir(run, run / "last.ckpt", begin_anew=False)
    release_run_dir(run)


def test_a_direction_of_endless_images_is_left_out(tmp_path: Path) -> None:
    model = tiny_model()
    direction = Direction([torch.zeros(shape) for shape in model.flow.latent_shapes], float("inf"))  # type: ignore[arg-type]
    save_direction(direction, "odd", model, tmp_path)
    with pytest.warns(UserWarning, match="'odd' is left out"):
        assert load_directions(model, tmp_path) == {}


def test_deep_json_is_one_line(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    path = tmp_path / "x.safetensors"
    save_file({"a": torch.zeros(1)}, path, {"format": "glow-latents/1", "facts": "[" * 200_000})
    with pytest.raises(ValueError, match="is damaged"):
        read_content(path)


def test_latents_without_names_are_one_line(tmp_path: Path) -> None:
    from glow_app.generation.tensor_file import LATENTS, write_tensors

    model = tiny_model()
    for facts in (None, {"a": 1}, [1, 2], ["a\0b"]):
        write_tensors(tmp_path / "x.safetensors", {"level0": torch.zeros(1)}, model, LATENTS, facts)
        with pytest.raises(ValueError, match=r"does not name its images|not of the shapes"):
            load_latents(tmp_path / "x.safetensors", model)


def test_a_terminal_is_not_commanded() -> None:
    assert printable("a\x1b]0;owned\x07b\u202ec é 日") == "a\\x1b]0;owned\\x07b\\u202ec é 日"
    assert "\x1b" not in (shown := format_warning("file \x1b[2J.png"))
    assert shown


def test_info_and_errors_escape_what_files_say(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from glow_app.cli import main
    from glow_app.storage.pretrained import save_pretrained

    folder = save_pretrained(tiny_model(), tmp_path / "model", {"note": "\x1b[2Jboo", "\x1b[1mname": 3})
    assert main(["info", str(folder)]) == 0
    assert main(["info", str(tmp_path / "\x1b[2Jnothing.ckpt")]) == 1
    captured = capsys.readouterr()
    assert "\x1b" not in captured.out + captured.err
    assert "\\x1b[2Jboo" in captured.out


# SECURITY.md


def test_the_page_names_tests_that_there_are() -> None:
    text = (ROOT / "SECURITY.md").read_text()
    named = set(re.findall(r"`(tests/[\w/]+\.py)`", text))
    assert len(named) > 5
    assert all((ROOT / name).is_file() for name in named), named


def test_nothing_else_reads_pickles_or_runs_text() -> None:
    readers = {
        r"torch\.load\(": {"glow_app/evaluation/features.py", "glow_app/storage/checkpoint.py"},
        r"torch\.jit\.load\(": {"glow_app/evaluation/features.py"},
        r"pickle\.(load|loads|_?Unpickler)\b": {"glow_app/storage/tensor_pickle.py"},
        r"np\.load\(": {"glow_app/data/tables.py"},
        r"allow_pickle=True": set(),
        r"weights_only=False": set(),
        r"yaml\.(load|unsafe_load|full_load)\(": set(),
        r"(eval|exec)\(": set(),
    }
    files = [path for top in ("glow_app", "lightning_modules") for path in (ROOT / top).rglob("*.py")]
    for pattern, known in readers.items():
        found = {str(path.relative_to(ROOT)) for path in files if re.search(rf"(?<![\w.]){pattern}", path.read_text())}
        assert found <= known, (pattern, found - known)


@pytest.mark.slow
@pytest.mark.skipif(not (COMMAND := Path(sys.executable).with_name("glow")).exists(), reason="glow is not installed")
def test_no_module_of_the_current_folder_is_run_by_further_processes(tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    (tmp_path / "multiprocessing").mkdir()
    for name in ("struct.py", "multiprocessing/__init__.py"):
        (tmp_path / name).write_text(f"open({str(ran)!r}, 'w')")
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONSAFEPATH"}
    command = [str(COMMAND), "sample", "--count", "2", "--devices", "2", "--device", "cpu", "--output", "drawn"]
    subprocess.run(command, cwd=tmp_path, env=environment, check=True, capture_output=True)
    assert len(list((tmp_path / "drawn").glob("seed*.png"))) == 2
    assert not ran.exists()
