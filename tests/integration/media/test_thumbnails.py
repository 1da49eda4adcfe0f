"""Thumbnails: small, true to the picture, made once, whole or not there, and never in the way."""

from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from batchgen.media import thumbnails
from batchgen.media.formats import MAX_PIXELS
from batchgen.media.thumbnails import MAX_SIDE_PX, MIN_SOURCE_BYTES, MIN_SOURCE_PX

NAME = "thumbs/0123456789abcdef.webp"
OUTPUT: dict[str, Any] = {
    "kind": "image",
    "size": MIN_SOURCE_BYTES + 1,
    "sha256": "0123456789abcdef" * 4,
    "width": 1024,
    "height": 768,
}


@pytest.fixture
def report(tmp_path: Path) -> Path:
    for folder in ("report", "images"):
        (tmp_path / folder).mkdir()
    return tmp_path / "report"


def picture(report: Path, name: str, image: Image.Image, **form: object) -> str:
    image.save(report.parent / "images" / name, **form)
    return f"images/{name}"


def called(n: int) -> str:
    return f"{n:016x}.webp"


def made(report: Path) -> list[str]:
    return sorted(path.name for path in (report / "thumbs").glob("*"))


def make(report: Path, *pictures: str, tidy: bool = True) -> list[str]:
    """Make a thumbnail of each picture, `called(0)` and so on; return what is there."""
    thumbnails.make_thumbnails(
        report, [(p, f"thumbs/{called(n)}") for n, p in enumerate(pictures)], tidy=tidy
    )
    return made(report)


# Which pictures have one


def test_it_is_named_by_the_hash_of_its_picture() -> None:
    assert thumbnails.thumbnail_path(**OUTPUT) == NAME


@pytest.mark.parametrize(
    "other",
    [
        *({"kind": "video"}, {"kind": "audio"}, {"sha256": None}, {"size": 0}),
        {"size": MIN_SOURCE_BYTES},
        {"width": MIN_SOURCE_PX, "height": MIN_SOURCE_PX},
        {"width": MAX_PIXELS, "height": 2},
    ],
)
def test_what_is_small_or_huge_or_no_picture_has_none(other: dict[str, object]) -> None:
    assert thumbnails.thumbnail_path(**{**OUTPUT, **other}) is None


def test_a_picture_of_unknown_size_has_one() -> None:
    assert thumbnails.thumbnail_path(**{**OUTPUT, "width": None, "height": None}) == NAME


# What they look like


@pytest.mark.parametrize(
    ("form", "mode"),
    [
        *(("png", mode) for mode in ("RGB", "RGBA", "L", "LA", "P", "1", "I;16")),
        *(("jpg", mode) for mode in ("RGB", "L", "CMYK")),
        *(("webp", "RGBA"), ("gif", "P"), ("avif", "RGB")),
    ],
)
def test_every_kind_of_picture_gets_one_of_its_proportions(
    report: Path, form: str, mode: str
) -> None:
    path = picture(report, f"a.{form}", Image.new(mode, (1200, 600)))

    assert make(report, path) == [called(0)]
    with Image.open(report / "thumbs" / called(0)) as small:
        assert small.format == "WEBP"
        assert small.size == (MAX_SIDE_PX, MAX_SIDE_PX // 2)


def test_what_can_be_seen_through_stays_so(report: Path) -> None:
    make(report, picture(report, "a.png", Image.new("RGBA", (600, 600), (255, 0, 0, 0))))

    with Image.open(report / "thumbs" / called(0)) as small:
        assert small.convert("RGBA").getpixel((9, 9))[3] == 0


def test_a_picture_that_lies_on_its_side_is_shown_upright(report: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter
    make(report, picture(report, "a.jpg", Image.new("RGB", (1200, 600)), exif=exif))

    with Image.open(report / "thumbs" / called(0)) as small:
        assert small.size == (MAX_SIDE_PX // 2, MAX_SIDE_PX)


def test_what_a_link_in_the_folder_points_to_has_none(report: Path) -> None:
    """A stranger's folder could copy a picture of this computer into itself."""
    Image.new("RGB", (600, 600)).save(report.parent / "private.png")
    (report.parent / "images" / "a.png").symlink_to(report.parent / "private.png")

    assert make(report, "images/a.png") == []


# When they are made


def test_each_is_made_once(report: Path) -> None:
    path = picture(report, "a.png", Image.new("RGB", (600, 600)))
    make(report, path)
    before = (report / "thumbs" / called(0)).stat()

    make(report, path)

    after = (report / "thumbs" / called(0)).stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_one_that_no_picture_has_any_more_is_removed_and_so_is_what_a_kill_left(
    report: Path,
) -> None:
    path = picture(report, "a.png", Image.new("RGB", (600, 600)))
    make(report, path, path)
    (report / "thumbs" / f".{7:016x}-{called(7)}.part").touch()

    assert make(report, path) == [called(0)]


def test_what_is_none_of_ours_is_not_removed(report: Path) -> None:
    path = picture(report, "a.png", Image.new("RGB", (600, 600)))
    make(report, path)
    for name in ("letter.odt", ".letter.part", f"x{called(1)}"):
        (report / "thumbs" / name).touch()
    (report / "thumbs" / called(2)).symlink_to(report.parent / path)

    others = {"letter.odt", ".letter.part", f"x{called(1)}", called(2)}
    assert {*make(report, path)} == {called(0), *others}


def test_of_a_part_of_a_batch_the_other_thumbnails_stay(report: Path) -> None:
    path = picture(report, "a.png", Image.new("RGB", (600, 600)))
    make(report, path, path)

    assert make(report, path, tidy=False) == [called(0), called(1)]


def test_where_none_is_needed_there_is_no_folder(report: Path) -> None:
    make(report)

    assert not (report / "thumbs").exists()


# What goes wrong


def test_a_picture_that_cannot_be_read_has_none_and_the_others_do(report: Path) -> None:
    good = picture(report, "good.png", Image.new("RGB", (600, 600)))
    whole = (report.parent / good).read_bytes()
    images = report.parent / "images"
    (images / "half.png").write_bytes(whole[: len(whole) // 2])
    (images / "noise.png").write_bytes(b"no picture")

    assert make(
        report, "images/half.png", "images/noise.png", "images/gone.png", "images", good
    ) == [called(4)]


def test_a_picture_that_would_fill_the_memory_is_not_decoded(report: Path) -> None:
    path = picture(report, "a.png", Image.new("RGB", (600, 600)))

    for max_pixels, expected in ((599 * 600, []), (600 * 600, [called(0)])):
        thumbnails.make_thumbnails(
            report, [(path, f"thumbs/{called(0)}")], tidy=True, max_pixels=max_pixels
        )
        assert made(report) == expected


def test_where_they_cannot_be_written_the_gallery_goes_without(report: Path) -> None:
    (report / "thumbs").write_text("a file where the folder should be")

    thumbnails.make_thumbnails(report, [("images/a.png", NAME)], tidy=True)

    assert (report / "thumbs").is_file()


def test_an_interrupted_one_leaves_only_whole_thumbnails(report: Path) -> None:
    path = picture(report, "a.png", Image.new("RGB", (600, 600)))

    def interrupted() -> object:
        yield from ((path, f"thumbs/{called(n)}") for n in range(11))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        thumbnails.make_thumbnails(report, interrupted(), tidy=True, queue_length=8)

    assert len(made(report)) == 8
    for name in made(report):
        with Image.open(report / "thumbs" / name) as small:
            small.load()
