"""HEIC pictures, decoded in a process of their own; most tests put a program in the place of the decoder."""

import os
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from glow_app.data import heif
from glow_app.data.bulk import decode_listing
from glow_app.data.decoding import decode_image, open_image, read_photo
from glow_app.data.listing import list_images
from glow_app.data.shards.pack import Packing, pack_folder

PLUGIN = """
import os, time
from PIL import Image, ImageFile

class Picture(ImageFile.ImageFile):
    format = "HEIF"

    def _open(self):
        text = self.fp.read().decode()
        self._mode, self._size = "RGB", (4, 3)
        if text == "large":
            self._size = (20_000, 20_000)
        elif text == "broken":
            raise ValueError("no such thing")
        elif text == "late":
            time.sleep(1000)
        elif text == "dies":
            os.abort()
        elif text == "greedy":
            bytearray(8 << 30)
        elif text == "writes":
            with open("written", "w") as file:
                file.write("mine")

    def load(self):
        self.im = Image.new("RGB", self._size, tuple(os.getpid().to_bytes(4)[1:])).im

def register_heif_opener():
    Image.register_open("HEIF", Picture)
"""


@pytest.fixture
def kinds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of pictures for the program in the place of the decoder."""
    (tmp_path / "plugin").mkdir()
    (tmp_path / "plugin" / "pillow_heif.py").write_text(PLUGIN)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "plugin"), prepend=os.pathsep)
    monkeypatch.syspath_prepend(tmp_path / "plugin")
    monkeypatch.setattr(heif, "SECONDS", 1)
    folder = tmp_path / "pictures"
    folder.mkdir()
    monkeypatch.chdir(folder)
    for kind in ("good", "large", "broken", "late", "dies", "greedy", "writes"):
        (folder / f"{kind}.heic").write_text(kind)
    return folder


ENDED = "it is damaged or too large, or takes more than 1 s to decode"


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("large", "exceeds limit of .* pixels"),
        ("broken", "no such thing"),
        ("greedy", "MemoryError"),
        ("writes", "File too large"),
        ("late", ENDED),
        ("dies", ENDED),
    ],
)
def test_a_hostile_picture_is_broken(kinds: Path, kind: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        open_image(kinds / f"{kind}.heic")


def test_pictures_do_not_share_a_process(kinds: Path) -> None:
    first, second = (open_image(kinds / "good.heic").getpixel((0, 0)) for _ in range(2))
    assert first != second  # the colour is the number of the process


def test_broken_pictures_of_a_folder_are_named(kinds: Path) -> None:
    (chunk,) = decode_listing(list_images(kinds), (3, 3, 4), "crop")
    assert chunk.names == ["good.heic"]
    assert dict(chunk.skipped)["late.heic"] == ENDED
    assert len(chunk.skipped) == 6


def test_shards_hold_them_as_png(kinds: Path) -> None:
    for kind in ("late", "dies"):
        (kinds / f"{kind}.heic").unlink()
    report = pack_folder(kinds, kinds.parent / "shards", Packing(validation_fraction=0.0, test_fraction=0.0))
    assert len(report.skipped) == 4
    with tarfile.open(kinds.parent / "shards" / "train-000000.tar") as tar:
        assert tar.getnames() == ["000000000.png"]


def test_only_a_file_of_that_suffix_is_given_to_the_decoder(kinds: Path) -> None:
    for name in ("good.png", "good.avif"):
        (kinds / "good.heic").rename(kinds / name)
        with pytest.raises(OSError, match="cannot identify"):
            open_image(kinds / name)
        (kinds / name).rename(kinds / "good.heic")
    with pytest.raises(OSError, match="cannot identify"):
        open_image((kinds / "good.heic").read_bytes())  # as the server and shards do
    assert "HEIF" not in Image.OPEN


def test_the_process_imports_nothing_of_this_package(kinds: Path) -> None:
    code = f"import runpy, sys\nsys.argv[1:] = ['1', '4294967296', {str(kinds / 'good.heic')!r}]\n"
    code += f"runpy.run_path({heif.__file__!r}, run_name='__main__')\n"
    code += "assert not {'glow_app', 'torch'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)


def test_without_the_extra_the_message_names_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heif, "can_read_heif", lambda: False)
    (tmp_path / "a.heic").touch()
    with pytest.raises(ValueError, match=r"it is a HEIC picture; run: pip install 'glow-app\[heic\]'"):
        open_image(tmp_path / "a.heic")


def test_a_picture_of_a_phone(tmp_path: Path) -> None:
    pillow_heif = pytest.importorskip("pillow_heif")
    ramp = np.linspace(0, 255, 48).repeat(64).reshape(48, 64).astype(np.uint8)
    picture = Image.fromarray(np.stack([ramp, 255 - ramp, ramp // 2], axis=2))
    exif = Image.Exif()
    exif[0x0112] = 6  # lies on its side
    picture.save(tmp_path / "a.jpg", exif=exif.tobytes(), quality=95)
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    picture.info["icc_profile"] = profile
    pillow_heif.from_pillow(picture).save(tmp_path / "a.heic", exif=exif.tobytes(), quality=95)
    assert read_photo(tmp_path / "a.heic", 3).icc_profile == profile
    expected = decode_image(tmp_path / "a.jpg", (3, 64, 48), "crop").astype(int)
    assert abs(decode_image(tmp_path / "a.heic", (3, 64, 48), "crop") - expected).max() < 24
