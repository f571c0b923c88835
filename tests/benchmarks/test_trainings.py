"""How trainings are recorded: their images, and what is kept of them."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tables import Table, default_phase, read_table, write_table
from trainings import configurations, drawn_images, photos, record, resume


def test_a_fifth_of_each_class_of_photos_validates_and_val_is_the_test_set(tmp_path: Path) -> None:
    for number, (side, name, count) in enumerate(
        [("train", "ants", 10), ("train", "bees", 15), ("val", "ants", 3), ("val", "bees", 4)]
    ):
        folder = tmp_path / side / name
        folder.mkdir(parents=True)
        for index in range(count):
            colour = (40 * number, 10 * index, 0)
            Image.new("RGB", (80, 60), colour).save(folder / f"{index}.jpg", quality=95)
    found = photos(tmp_path)
    assert found.pixels.shape == (32, 64, 64, 3)
    assert (found.train, found.validation, found.test) == (20, 5, 7)
    sides = np.split(found.labels, [20, 25])
    assert [np.bincount(side).tolist() for side in sides] == [[8, 12], [2, 3], [3, 4]]
    # Red tells the folder, and green the file: no photo is on two sides.
    assert set(found.pixels[25:, 0, 0, 0].round(-1)) == {80, 120}
    assert len(np.unique(found.pixels[:, 0, 0, :2], axis=0)) == 32


@pytest.mark.slow
def test_a_recording_goes_on_where_it_was_and_repeats_what_is_lost(tmp_path: Path) -> None:
    images = drawn_images("discs", train=200, validation=50, test=50)
    phase = default_phase(epochs=1, min_steps=0)
    drawn = configurations(phase, 2)
    first = record(images, phase, drawn, tmp_path)
    assert [one.params for one in first] == [params.model_dump(mode="json") for params in drawn]
    for training in first:
        assert training.epochs == pytest.approx([1 / 3, 1])
        assert training.status == "ok"
        assert {
            len(training.val_accuracy),
            len(training.val_loss),
            len(training.test_accuracy),
        } == {2}
        assert training.operations > training.parameters > 0
    kept, lost = tmp_path / "0000.json", tmp_path / "0001.json"
    written = kept.stat().st_mtime_ns
    # What is there of another configuration counts no more than nothing.
    lost.write_bytes(kept.read_bytes())
    again = record(images, phase, drawn, tmp_path)
    assert kept.stat().st_mtime_ns == written
    assert again[1]._replace(seconds=0) == first[1]._replace(seconds=0)
    # On another machine the table is all that is left of the first one's folder.
    counts = images.train, images.validation, images.test
    write_table(tmp_path / "discs.parquet", Table("discs", *counts, first))
    table, elsewhere = read_table(tmp_path / "discs.parquet"), tmp_path / "elsewhere"
    resume(elsewhere, table)
    made = {path: path.stat().st_mtime_ns for path in elsewhere.iterdir()}
    assert record(images, phase, drawn, elsewhere) == table.trainings
    assert {path: path.stat().st_mtime_ns for path in made} == made
