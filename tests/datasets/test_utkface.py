"""UTKFace: attributes from file names, malformed names skipped and reported."""

import numpy as np
import pytest

from skfairlatent.datasets import load_utkface

GOOD = [
    "UTKFace/100_0_2_20170112213500903.jpg.chip.jpg",
    "UTKFace/24_1_4_20170116220224657 .jpg",
    "UTKFace/55_0_0_20170116232725357jpg.chip.jpg",
]
# As published: without gender, without race, with an empty part.
MALFORMED = [
    "UTKFace/39_1_20170116174525125.jpg.chip.jpg",
    "UTKFace/53__0_20170116184028385.jpg",
    "UTKFace/61_3_20170109150557335.jpg",
]


@pytest.mark.parametrize("as_zip", [True, False])
def test__load_utkface__reads_the_file_names(tmp_path, encoded, fill, as_zip):
    contents = {name: encoded(10 * i) for i, name in enumerate(GOOD)}
    faces = load_utkface(fill(tmp_path / "utkface.zip", contents, as_zip=as_zip))
    assert faces.filenames.tolist() == GOOD
    assert faces.frame.to_dict("list") == {
        "age": [100, 24, 55],
        "gender": [0, 1, 0],
        "race": [2, 4, 0],
    }
    assert faces.frame["age"].dtype == np.int16
    assert faces.images[:, 0, 0, 0].tolist() == [0, 10, 20]
    assert faces.split is None
    assert faces.skipped == []


def test__load_utkface__reports_and_skips_malformed_names(tmp_path, encoded, fill):
    path = fill(tmp_path, {name: encoded(1) for name in GOOD + MALFORMED}, as_zip=False)
    with pytest.warns(UserWarning, match=r"3 of 6 images .* skipped.*: UTKFace/39_1_20170116"):
        faces = load_utkface(path, columns=["gender"], images=None)
    assert faces.skipped == MALFORMED
    assert faces.frame.shape == (3, 1)


def test__load_utkface__skips_an_age_that_nobody_reached(tmp_path, encoded, fill):
    names = ["5_0_0_20170101.jpg", "999_0_0_20170101.jpg"]
    path = fill(tmp_path, {name: encoded(1) for name in names}, as_zip=False)
    with pytest.warns(UserWarning, match=r"1 of 2 images .* skipped.*: 999_0_0"):
        assert load_utkface(path, images=None).frame["age"].tolist() == [5]


def test__load_utkface__refuses_two_copies_of_an_image(tmp_path, encoded, fill):
    names = [f"{folder}/5_0_0_20170101.jpg" for folder in ("UTKFace", "crop_part1")]
    path = fill(tmp_path, {name: encoded(1) for name in names}, as_zip=False)
    with pytest.raises(
        ValueError, match=r"1 images more than once, such as 'UTKFace/5_.*pass the"
    ):
        load_utkface(path)
    assert len(load_utkface(path / "crop_part1").images) == 1


def test__load_utkface__draws_a_sample(tmp_path, encoded, fill):
    names = [f"{age}_0_0_2017011221350090{age % 10}.jpg" for age in range(10, 30)]
    path = fill(tmp_path, {name: encoded(1) for name in names}, as_zip=False)
    first = load_utkface(path, max_images=5, images=None)
    drawn = load_utkface(path, max_images=5, random_state=0, images=None)
    assert first.frame["age"].tolist() == [10, 11, 12, 13, 14]
    assert drawn.frame["age"].max() > 14
    assert len(drawn.frame) == 5


def test__load_utkface__says_what_to_use_for_other_images(tmp_path, encoded, fill):
    path = fill(tmp_path / "a.zip", {"000001.png": encoded(1)}, as_zip=True)
    with pytest.raises(ValueError, match=r"No image of 'a.zip' is named .*use load_image_folder"):
        load_utkface(path)
    with pytest.raises(FileNotFoundError, match="does not exist: pass the path of a folder or a"):
        load_utkface(tmp_path / "nowhere")


@pytest.mark.data
@pytest.mark.slow
def test__load_utkface__reads_real_names(data_dir):
    faces = load_utkface(data_dir / "utkface64" / "images.zip", max_images=10)
    assert faces.images.shape == (10, 64, 64, 3)
    assert faces.frame["age"].between(0, 116).all()
