"""Training images are changed as a function of seed, step and position in the batch, and of nothing else."""

import numpy as np
import pytest

from epochd.core import specs
from epochd.core.errors import InvalidSpec
from epochd.data.feed import batches, prefetch
from epochd.data.feed.augmentation import Augmentation
from epochd.data.feed.batches import Batches
from epochd.data.feed.dataset import InMemoryDataset, MemmapDataset

RNG = np.random.default_rng(4)
IMAGES = RNG.normal(size=(200, 6, 5, 2)).astype(np.float32)


def is_in(image, frame):
    """The places of a smaller image in a larger one."""
    height, width, _ = image.shape
    places = np.ndindex(frame.shape[0] - height + 1, frame.shape[1] - width + 1)
    return [place for place in places if (frame[place[0] :, place[1] :][:height, :width] == image).all()]


@pytest.mark.parametrize(("flip", "axis"), [(1, 0), (2, 1)])
def test_half_of_the_images_are_flipped(flip, axis):
    found = Augmentation(3, flip=flip).apply(IMAGES.copy(), 7)
    flipped = np.array([(one == np.flip(old, axis)).all() for one, old in zip(found, IMAGES, strict=True)])
    same = np.array([(one == old).all() for one, old in zip(found, IMAGES, strict=True)])
    assert (flipped ^ same).all()
    assert 70 < flipped.sum() < 130


def test_images_are_moved_within_a_frame_of_zeros():
    found = Augmentation(3, crop=2).apply(IMAGES.copy(), 7)
    framed = np.pad(IMAGES, [(0, 0), (2, 2), (2, 2), (0, 0)])
    places = {is_in(one, frame)[0] for one, frame in zip(found, framed, strict=True)}
    assert places == {(y, x) for y in range(5) for x in range(5)}


def test_noise_has_its_standard_deviation():
    found = Augmentation(3, noise=0.25).apply(IMAGES.copy(), 7) - IMAGES
    assert found.std() == pytest.approx(0.25, rel=0.05)
    assert abs(found.mean()) < 0.01
    assert found.dtype == np.float32


def test_the_same_step_gives_the_same_bits_and_another_step_others():
    every = Augmentation(3, flip=2, crop=1, noise=0.1)
    first = every.apply(IMAGES.copy(), 7)
    assert (every.apply(IMAGES.copy(), 7) == first).all()
    assert not (every.apply(IMAGES.copy(), 8) == first).all()
    assert not (Augmentation(4, flip=2, crop=1, noise=0.1).apply(IMAGES.copy(), 7) == first).all()


def blocks(train, plan, epoch, done=0):
    """Each row of an epoch as the engine gets it, in training order."""
    found, loaded = [], None
    for _, rows, block in prefetch.chunks(plan, train, epoch, done):
        loaded = block or loaded
        found.append(loaded.x[rows])
    return np.concatenate(found)


@pytest.fixture
def plan(monkeypatch):
    monkeypatch.setattr(prefetch, "BLOCK_VALUES", 3 * 2 * 16 * 60)
    return Batches(200, 16, 5, 2, Augmentation(5, flip=2, crop=1, noise=0.1))


def test_each_step_of_each_epoch_is_augmented_by_its_number(plan):
    train = InMemoryDataset(IMAGES, np.arange(200))
    for epoch in (0, 1):
        order, found = batches.epoch_order(200, 5, epoch), blocks(train, plan, epoch)
        for step in range(plan.steps):
            rows = order[step * 16 : (step + 1) * 16]
            expected = plan.augmentation.apply(IMAGES[rows].copy(), epoch * plan.steps + step)
            assert (found[step * 16 : (step + 1) * 16] == expected).all()
    assert (train.x == IMAGES).all(), "the dataset itself is not changed"


def test_rows_from_a_file_and_after_a_resume_are_the_same(plan):
    train = InMemoryDataset(IMAGES, np.arange(200))
    stored = MemmapDataset(IMAGES.reshape(200, -1), np.arange(200), 1, (6, 5, 2), np.arange(200))
    whole = blocks(train, plan, 1)
    assert (blocks(stored, plan, 1) == whole).all()
    assert (blocks(train, plan, 1, done=6) == whole[6 * 16 :]).all()
    assert len(prefetch.initial_rows(plan, train)) == 3 * 2 * 16


def test_only_images_are_augmented():
    spec = specs.parse({"target_column": "y", "augmentation": {"flip": "horizontal", "crop": 3}})
    assert Augmentation.of(spec, (8, 8, 1)) == Augmentation(0, 2, 3, 0.0)
    assert Augmentation.of(spec, (8, 8)) is None
    assert Augmentation.of(specs.parse({"target_column": "y"}), (8, 8, 1)) is None


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"flip": "both"}, "augmentation.flip"),
        ({"crop": 0}, "augmentation.crop"),
        ({"crop": 1.5}, "augmentation.crop"),
        ({"noise": -1.0}, "augmentation.noise"),
        ({"rotate": 5}, "augmentation.rotate"),
        ("flip", "augmentation"),
    ],
)
def test_wrong_options_are_named(given, field):
    with pytest.raises(InvalidSpec) as error:
        specs.parse({"target_column": "y", "augmentation": given})
    assert [problem.field for problem in error.value.problems] == [field]
