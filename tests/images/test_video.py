"""Videos in a worker: frames where the scene changes, with their times; and nothing but the file itself is ever opened."""

from __future__ import annotations

import subprocess
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image

from llava_gateway.errors import ImageError
from llava_gateway.images import video
from llava_gateway.images.documents import examine, ingest_page
from llava_gateway.images.encode import Encoded
from llava_gateway.images.info import Limits
from llava_gateway.images.ingest import Ready
from llava_gateway.images.pages import kind_of, may_have_pages, video_demuxer
from llava_gateway.notes import note
from llava_gateway.parts import Selection
from tests.odd_images import saved
from tests.sample_images import shape
from tests.videos import CONTAINERS, film, folder_with_ffmpeg

LIMITS = Limits()
SCENES = (("circle", "red"), ("square", "blue"), ("star", "green"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ffmpeg, for the PATH."""
    return folder_with_ffmpeg(tmp_path_factory.mktemp("bin"))


@pytest.fixture
def ffmpeg(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Let ffmpeg read."""
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setattr(video, "has_opencv", lambda: False)
    return folder / "ffmpeg"


@pytest.fixture(params=["opencv", "ffmpeg"])
def reader(request: pytest.FixtureRequest, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let each of the two read."""
    monkeypatch.setenv("PATH", str(folder) if request.param == "ffmpeg" else "")
    monkeypatch.setattr(video, "has_opencv", lambda: request.param == "opencv")


@pytest.fixture(scope="module")
def films() -> dict[str, bytes]:
    """A video of three scenes of a second each, after a second of white, by container."""
    scenes = [Image.new("RGB", (96, 96), "white"), *(shape(what, colour, size=(96, 96)) for what, colour in SCENES)]
    return {container: film(scenes, container) for container in CONTAINERS}


@pytest.mark.parametrize("container", CONTAINERS)
def test_a_video_is_shown_by_frames_that_differ(reader: None, films: dict[str, bytes], container: str) -> None:
    data = films[container]
    assert (kind_of(data), may_have_pages(data)) == ("VIDEO", True)
    document = examine(data, LIMITS, Selection())
    assert (document.kind, document.count) == ("VIDEO", 40)
    seconds = [each.page.seconds for each in document.found]
    assert [int(second) for second in seconds if second is not None] == [1, 2, 3], "one of each scene, none of the white second"
    ready, canonical = ingest_page(data, document.found[1].page, LIMITS, None)
    assert isinstance(ready, Ready)
    assert isinstance(canonical, Encoded)
    assert ready.info.changes[0].code == "frame_at"
    red, _, blue = Image.open(BytesIO(canonical.data)).convert("RGB").getpixel((48, 48))  # type: ignore[misc]
    assert blue > red + 80, "the blue square"


def test_frames_are_chosen_by_number(reader: None, films: dict[str, bytes]) -> None:
    document = examine(films["mp4"], LIMITS, Selection(frames=(15, 35)))
    assert [(each.page.index, each.page.seconds) for each in document.found] == [(15, 1.5), (35, 3.5)]
    ready, _ = ingest_page(films["mp4"], document.found[0].page, LIMITS, None)
    assert isinstance(ready, Ready)
    assert ready.info.changes[0] == note("frame_at", frame=15, seconds=1.5, count=40)


def test_without_ffmpeg_there_is_one_clear_line(films: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(video, "has_opencv", lambda: False)
    with pytest.raises(ImageError) as refused:
        examine(films["mp4"], LIMITS, Selection())
    assert (refused.value.code, refused.value.status) == ("video_not_read", 415)


@pytest.mark.parametrize("container", ["mp4", "mkv", "avi"])
def test_a_broken_video_is_refused(reader: None, films: dict[str, bytes], container: str) -> None:
    with pytest.raises(ImageError) as refused:
        examine(films[container][:64], LIMITS, Selection())
    assert refused.value.code == "video_damaged"


def test_a_video_of_too_many_pixels_is_refused_before_it_is_decoded(ffmpeg: Path, tmp_path: Path) -> None:
    path = tmp_path / "bomb.avi"
    source = ["-f", "lavfi", "-i", "color=red:s=6000x6000:d=0.1:r=10"]
    subprocess.run([str(ffmpeg), "-v", "error", *source, "-c:v", "mjpeg", "-pix_fmt", "yuvj420p", str(path)], check=True)
    with pytest.raises(ImageError) as refused:
        examine(path.read_bytes(), LIMITS, Selection())
    assert refused.value.code == "image_too_large"


@pytest.mark.parametrize("demuxer", ["hls", "concat", "mov", "matroska", "avi"])
def test_a_playlist_opens_no_file(ffmpeg: Path, films: dict[str, bytes], tmp_path: Path, demuxer: str) -> None:
    """Even if the demuxer of playlists were taken, the whitelist of protocols has no files and no addresses."""
    (tmp_path / "secret.mkv").write_bytes(films["mkv"])
    target = tmp_path / "secret.mkv"
    lists = {
        "hls": f"#EXTM3U\n#EXT-X-TARGETDURATION:4\n#EXTINF:4,\nfile://{target}\n#EXT-X-ENDLIST\n",
        "concat": f"ffconcat version 1.0\nfile 'file:{target}'\n",
    }
    playlist = lists.get(demuxer, lists["hls"]).encode()
    assert video_demuxer(playlist) is None, "it is no video by its bytes"
    path = tmp_path / "list"
    path.write_bytes(playlist)
    with path.open("rb") as file, pytest.raises(ImageError) as refused:
        video.Video(file, demuxer, LIMITS).scenes(4)
    assert refused.value.code == "video_damaged"


def test_opencv_opens_no_playlist(films: dict[str, bytes], tmp_path: Path) -> None:
    (tmp_path / "secret.mkv").write_bytes(films["mkv"])
    assert video.CvFilm(str(tmp_path / "secret.mkv"), LIMITS).count == 40
    playlist = tmp_path / "list.m3u8"
    playlist.write_text(f"#EXTM3U\n#EXT-X-TARGETDURATION:4\n#EXTINF:4,\nfile://{tmp_path}/secret.mkv\n#EXT-X-ENDLIST\n")
    with pytest.raises(ImageError):
        video.CvFilm(str(playlist), LIMITS)


def test_images_are_no_videos() -> None:
    heic = saved(shape("circle", "red"), "HEIF")
    assert (kind_of(heic), video_demuxer(heic)) == ("HEIC", None)
