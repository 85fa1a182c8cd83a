"""Videos for tests, encoded by the ffmpeg that comes with imageio-ffmpeg."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

import imageio_ffmpeg
from PIL import Image

CONTAINERS = {"mp4": "mpeg4", "mov": "mpeg4", "mkv": "mpeg4", "webm": "libvpx", "avi": "mjpeg"}


def film(scenes: Sequence[Image.Image], container: str = "mp4") -> bytes:
    """Encode a video that shows each of these RGB images of equal size for a second, at 10 frames a second."""
    codec, (width, height) = CONTAINERS[container], scenes[0].size
    source = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}", "-r", "1", "-i", "pipe:0"]
    pixels = "yuvj420p" if codec == "mjpeg" else "yuv420p"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"film.{container}"
        command = [
            imageio_ffmpeg.get_ffmpeg_exe(),
            "-v",
            "error",
            *source,
            "-r",
            "10",
            "-c:v",
            codec,
            "-q:v",
            "2",
            "-pix_fmt",
            pixels,
            path,
        ]
        subprocess.run(command, input=b"".join(scene.tobytes() for scene in scenes), check=True)
        return path.read_bytes()


def folder_with_ffmpeg(folder: Path) -> Path:
    """Put ffmpeg under this name into a folder, for the PATH."""
    (folder / "ffmpeg").symlink_to(imageio_ffmpeg.get_ffmpeg_exe())
    return folder
