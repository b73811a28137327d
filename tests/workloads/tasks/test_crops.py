"""ImageNet's crops: the law of the random ones, told by pictures whose colors are places, and the central one."""

import io
import math

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional as F

from picture_files import picture
from rectified.workloads.tasks.imagenet import central_crop, random_crop


def ramps(width: int, height: int, red_from: int = 0, green_from: int = 0) -> Image.Image:
    """Red is a pixel's column, green its row, within what a byte holds."""
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[..., 0] = (np.arange(width) - red_from).clip(0, 255)
    pixels[..., 1] = (np.arange(height) - green_from).clip(0, 255)[:, None]
    return Image.fromarray(pixels)


def box(crop: Image.Image) -> tuple[float, float, float, float]:
    """Left, top, width and height of what was cropped from ramps(), to about a pixel; a negative width is mirrored."""
    pixels = np.asarray(crop).astype(float)
    inner, at = slice(32, 192), np.arange(32, 192) + 0.5
    (across, left), (down, top) = (
        np.polyfit(at / 224, ramp, 1) for ramp in (pixels[100, inner, 0], pixels[inner, 100, 1])
    )
    return min(left, left + across) + 0.5, top + 0.5, across, down


def test_random_crops_have_the_areas_ratios_and_places_that_they_should() -> None:
    width, height, count = 250, 180, 1500
    image = ramps(width, height)
    boxes = np.array([box(random_crop(image, seed)) for seed in range(count)])
    left, top, across, down = boxes.T
    mirrored, across = across < 0, abs(across)
    assert 0.4 < mirrored.mean() < 0.6
    assert (left > -1.5).all()
    assert (top > -1.5).all()
    assert (left + across < width + 1.5).all()
    assert (top + down < height + 1.5).all()
    areas, ratios = across * down / (width * height), across / down
    assert 0.07 < areas.min() < 0.12
    assert 0.9 < areas.max() < 1.02
    assert 0.72 < ratios.min() < 0.8
    assert 1.25 < ratios.max() < 1.37
    # Of the law itself: areas and ratios of the tries that fit, and places as far from one side as from the other.
    draw = np.random.default_rng(0)
    area, ratio = draw.uniform(0.08, 1, 100_000), np.exp(draw.uniform(np.log(3 / 4), np.log(4 / 3), 100_000))
    fits = (np.sqrt(area * ratio * width * height) <= width) & (np.sqrt(area / ratio * width * height) <= height)
    error = 3 * area[fits].std() / math.sqrt(count)
    assert areas.mean() == pytest.approx(area[fits].mean(), abs=error)
    assert np.log(ratios).mean() == pytest.approx(np.log(ratio[fits]).mean(), abs=3 * 0.17 / math.sqrt(count))
    for start, free in ((left, width - across), (top, height - down)):
        where = start[free > 20] / free[free > 20]
        assert where.mean() == pytest.approx(0.5, abs=4 * 0.29 / math.sqrt(len(where)))
        assert where.std() == pytest.approx(math.sqrt(1 / 12), abs=0.04)


@pytest.mark.parametrize("tall", [True, False])
def test_of_a_picture_in_which_no_crop_fits_it_is_the_middle(tall: bool) -> None:
    """1,000 pixels by 30 have no part of 0.08 of the area and a ratio of 3/4 to 4/3: 40 by 30 are the most."""
    image = ramps(30, 1000, green_from=450) if tall else ramps(1000, 30, red_from=450)
    left, top, across, down = box(random_crop(image, seed=1))
    assert (abs(across), down) == pytest.approx((30, 40) if tall else (40, 30), abs=1)
    assert (left, top) == pytest.approx((0, 480 - 450) if tall else (480 - 450, 0), abs=1)


def test_the_same_seed_is_the_same_crop_and_others_are_others() -> None:
    image = ramps(200, 200)
    crops = [random_crop(image, seed).tobytes() for seed in (3, 3, 4, 2**62 + 1)]
    assert crops[0] == crops[1]
    assert len(set(crops)) == 3


@pytest.mark.parametrize(("width", "height"), [(500, 375), (375, 500), (224, 224), (64, 64), (300, 2000)])
def test_the_central_crop_is_torchs_interpolation_cut_out(width: int, height: int) -> None:
    image = Image.open(io.BytesIO(picture(1, width, height)))
    pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1).float()
    size = (256, 256 * width // height) if height < width else (256 * height // width, 256)
    resized = F.interpolate(pixels[None], size, mode="bilinear", antialias=True)[0]
    top, left = ((side - 224) // 2 for side in size)
    expected = resized[:, top : top + 224, left : left + 224]
    found = torch.from_numpy(np.array(central_crop(image))).permute(2, 0, 1)
    assert found.shape == (3, 224, 224)
    assert float((found - expected).abs().max()) <= 1.5  # Pillow rounds to bytes twice
