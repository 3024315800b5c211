"""Images of one's own are read from a folder for each class."""

import numpy as np
import pytest
import torch
from PIL import Image

from biograd import data
from biograd.errors import UserMistake


def picture(seed, height=6, width=6):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3)).astype(np.uint8)


@pytest.fixture
def pictures(tmp_path):
    """Write pictures of these names below a folder, each drawn from the number in its name."""

    def written(*names, **shape):
        for name in names:
            file = tmp_path / "pets" / name
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(picture(int("".join(filter(str.isdigit, file.stem))), **shape)).save(file)
        return f"folder:{tmp_path / 'pets'}"

    return written


CATS, DOGS = [f"cat/{n}.png" for n in range(5)], [f"dog/deep/{n}.bmp" for n in range(5, 10)]


def test_a_folder_is_a_class_and_a_fifth_drawn_by_seed_is_the_test_part(pictures, tmp_path):
    name = pictures(*CATS, *DOGS)
    (tmp_path / "pets/cat/notes.txt").write_text("no picture")
    (tmp_path / "pets/.cache").mkdir()
    pets = data.load(name)
    assert (pets.name, pets.task.names, pets.input_shape) == ("pets", ("cat", "dog"), (3, 6, 6))
    assert (len(pets.train), len(pets.test)) == (8, 2)
    inputs, targets = (
        torch.cat([pets.train.inputs, pets.test.inputs]),
        [*pets.train.targets, *pets.test.targets],
    )
    assert inputs.dtype == torch.uint8
    for number in range(10):
        (place,) = (inputs == torch.tensor(picture(number)).permute(2, 0, 1)).flatten(1).all(1).nonzero()
        assert targets[place] == (number >= 5)


@pytest.mark.parametrize("test", ["test", "val", "validation"])
def test_parts_are_told_by_their_folders(pictures, test):
    name = pictures(*(f"train/{file}" for file in (*CATS, *DOGS)), *(f"{test}/dog/{n}.png" for n in (20, 21)))
    pets = data.load(name)
    assert (len(pets.train), pets.test.targets.tolist()) == (10, [1, 1])
    with pytest.raises(UserMistake, match="would carve another"):
        data.load(name, test_fraction=0.5)
    pictures(f"{test}/fox/22.png")
    with pytest.raises(
        UserMistake, match="pets: its test part has examples of class 'fox', and its training"
    ):
        data.load(name)


def test_sizes_are_made_one_around_the_middle(pictures):
    name = pictures(*CATS, *DOGS)
    pictures("cat/30.png", height=6, width=10)
    with pytest.raises(
        UserMistake, match=r"cat/30.png is 10×6 pixels and .*cat/0.png 6×6: scale all .*--data.size"
    ):
        data.load(name)
    pets = data.load(name, size=6)
    middle = torch.tensor(picture(30, 6, 10)[:, 2:8]).permute(2, 0, 1)
    assert (torch.cat([pets.train.inputs, pets.test.inputs]) == middle).flatten(1).all(1).any()
    assert data.load(name, size=3, grey=True).input_shape == (1, 3, 3)


def test_a_camera_that_was_turned_is_turned_back(pictures, tmp_path):
    name = pictures(*CATS, *DOGS)
    turned = Image.fromarray(np.rot90(picture(40), -1).copy())
    turned.getexif()[0x0112] = 8  # the top of the scene is on the right
    turned.save(tmp_path / "pets/cat/40.png", exif=turned.getexif())
    inputs = torch.cat([part.inputs for part in (data.load(name).train, data.load(name).test)])
    assert (inputs == torch.tensor(picture(40)).permute(2, 0, 1)).flatten(1).all(1).any()


def test_what_is_no_folder_of_images_is_one_line(pictures, tmp_path, monkeypatch):
    name = pictures(*CATS, *DOGS)
    for change, why in {
        "torn": "cat/torn.png cannot be read as an image",
        "text": "cat/text.png is no image that can be read",
        "deep": r"cat/deep.png has more than 8 bits a channel \(I;16\)",
    }.items():
        file = tmp_path / f"pets/cat/{change}.png"
        if change == "deep":
            Image.fromarray(np.full((6, 6), 40_000, np.uint16)).save(file)
        else:
            file.write_bytes((tmp_path / "pets/cat/0.png").read_bytes()[:60] if change == "torn" else b"text")
        with pytest.raises(UserMistake, match=why) as caught:
            data.load(name)
        assert "\n" not in str(caught.value)
        file.unlink()
    (tmp_path / "pets/fox").mkdir()
    with pytest.raises(UserMistake, match="the folder 'fox' in it holds none"):
        data.load(name)
    for place, why in {
        "pets/fox": "it holds no folder",
        "no": "does not exist",
        "pets/cat/0.png": "is a file",
    }.items():
        with pytest.raises(UserMistake, match=why):
            data.load(f"folder:{tmp_path / place}")
    (tmp_path / "pets/fox").rmdir()
    monkeypatch.setattr("os.sysconf", lambda name: 30)  # 900 bytes of memory
    with pytest.raises(UserMistake, match="10 images of 3×6×6 are 0 GB, more than the 0 GB of memory here"):
        data.load(name)
