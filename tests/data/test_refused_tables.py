"""Tables of labels that cannot be used, each refused in one line."""

from pathlib import Path
from typing import Any

import pytest
from support.data_sets import make, no_session
from support.label_tables import flat, table

from cnn.core.errors import Error, InputError
from cnn.data.data_settings import DataSettings
from cnn.data.labels.columns import choose_columns


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return flat(tmp_path_factory.mktemp("flat") / "images")


def test_columns_that_are_not_clear(images: Path, tmp_path: Path) -> None:
    for header, settings, rule in (
        ("img_1,kind", {}, r"--path-column must name the column of the paths, .* are img_1, kind"),
        ("path,file,label", {}, r"because path and file of \S+ may be it; .* path, file, label"),
        ("id,label,class", {}, "--label-column must name .* because label and class"),
        ("id,class", {"label_column": "klass"}, "'klass'; did you mean class\\?; its columns"),
        ("id,class,set,fold", {}, "--split-column must name the column of the splits or be none"),
        ("id,class", {"label_columns": ("class", "x")}, "--label-columns must .* but got 'x'"),
        ("id,class", {"label_columns": ("class",)}, "--label-columns must name at least two"),
        ("id,class,class", {}, "two named 'class'"),
        ("id,class", {"group_column": "id", "group": "none"}, "--group-column cannot be combined"),
        ("id,class", {"test_images": "x"}, "--labels cannot be combined with --test-images: name"),
        ("id,class", {"map_labels": "none.csv"}, "--map-labels must be a file, but got none.csv"),
        ("id,class\0", {}, "--labels must be a CSV or TSV file in UTF-8, or Parquet"),
    ):
        place = table(tmp_path / "labels.csv", [header, "1,2"])
        with pytest.raises(InputError, match=rule):
            make(no_session(), images, tmp_path / "data", labels=place, **settings)
    for place in (str(tmp_path / "none.csv"), str(images)):
        with pytest.raises(InputError, match="--labels must be a CSV, TSV or Parquet file"):
            make(no_session(), images, tmp_path / "data", labels=place)
    with pytest.raises(InputError, match="--label-column must be used with --labels"):
        make(no_session(), images, tmp_path / "data", label_column="x")
    assert not (tmp_path / "data").exists()
    chosen = choose_columns(["id", "Image", "user.id", "label"], "x", DataSettings(labels="x"))
    assert str(chosen) == "path = Image, label = label, group = user.id"


def test_tables_that_label_nothing(spark: Any, images: Path, tmp_path: Path) -> None:
    place = table(tmp_path / "other.csv", ["image,label", "x.png,a", "y.png,b"])
    with pytest.raises(InputError, match=r"--labels must name .* image has 'x.png', and there is"):
        make(spark, images, tmp_path / "data", labels=place, max_rejects=2)
    place = table(tmp_path / "one.csv", ["image,label", "1.png,a"])
    with pytest.raises(InputError, match=r"at least two classes, but the images of .* one: 'a'"):
        make(spark, images, tmp_path / "data", labels=place)
    for scheme in ("", "file://"):
        place = scheme + table(tmp_path / "torn.csv", ["image,label", "1.png,a", "2.png,b,c"])
        with pytest.raises(Error, match=r"the table \S+torn.csv cannot be read: .*"):
            make(spark, images, tmp_path / "data", labels=place)
