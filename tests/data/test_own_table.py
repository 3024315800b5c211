"""A table of one's own: numbers and texts of its rows are inputs, and what cannot be read is named with its line."""

import pytest
import torch

from biograd import data
from biograd.errors import UserMistake

TABLE = """\
height, colour,zip,id,kind,part
1.5,red,10,a1,10,train
2.5,blue,9,a2,9,train
-3e0,red,9,a3,10,train
"4",green,10,a4,9,test
"""


@pytest.fixture
def write(tmp_path):
    def written(text=TABLE, name="mine.csv"):
        (tmp_path / name).write_text(text, encoding="utf-8")
        return f"table:{tmp_path / name}"

    return written


def test_numbers_are_inputs_and_a_text_is_one_where_it_stands(write):
    mine = data.load(write(), target="kind", without="id", part="part", texts="zip", normalize=False)
    assert (mine.name, mine.task.names) == ("mine", ("9", "10"))
    # height | blue green red | zip 10, zip 9
    expected = [[1.5, 0, 0, 1, 1, 0], [2.5, 1, 0, 0, 0, 1], [-3, 0, 0, 1, 0, 1]]
    assert mine.train.inputs.tolist() == expected
    assert mine.test.inputs.tolist() == [[4, 0, 1, 0, 1, 0]]
    assert (mine.train.targets.tolist(), mine.test.targets.tolist()) == ([1, 0, 1], [0])


def test_inputs_are_the_columns_that_are_named(write):
    mine = data.load(write(), target="kind", inputs="zip,height", part="part", normalize=False)
    assert mine.train.inputs.tolist() == [[10, 1.5], [9, 2.5], [9, -3]]


def test_columns_are_normalised_by_the_training_rows(write):
    mine = data.load(write(), target="kind", inputs="height", part="part")
    ((x, _),) = data.TensorBatches(
        mine.train, mine.preprocessing, mine.task, batch_size=3, seed=0, device="cpu", train=False
    ).epoch(0)
    torch.testing.assert_close(x.mean(), torch.tensor(0.0), atol=1e-6, rtol=0)
    torch.testing.assert_close(x.std(correction=0), torch.tensor(1.0))


@pytest.mark.parametrize("separator", [";", "tab"])
def test_cells_stand_between_other_separators(write, separator):
    text = TABLE.replace(",", "\t" if separator == "tab" else separator)
    mine = data.load(write(text), target="kind", inputs="height", separator=separator, test_fraction=0.5)
    assert (len(mine.train), len(mine.test)) == (2, 2)


@pytest.mark.parametrize(
    ("text", "settings", "why"),
    [
        (TABLE, {}, "needs the setting 'target'"),
        (TABLE, {"target": "kinds"}, "target: it has no column 'kinds'; its columns: height, colour, zip"),
        (TABLE, {"target": "kind", "texts": "x"}, "texts: it has no column 'x'"),
        (TABLE, {"target": "kind", "inputs": "kind"}, "no column is left to predict kind from"),
        (TABLE, {"target": "kind", "part": "id"}, "column 'id' holds 'a1' in line 2, expected train or test"),
        (
            TABLE,
            {"target": "kind", "part": "part", "test_fraction": 0.5},
            "test_fraction = 0.5 would carve another",
        ),
        (
            TABLE.replace("2.5", "?"),
            {"target": "kind"},
            r"column 'height' holds numbers and, in line 3, '\?'",
        ),
        (
            TABLE.replace("2.5", "nan"),
            {"target": "kind"},
            "column 'height' holds numbers and, in line 3, 'nan'",
        ),
        (TABLE.replace("2.5", " "), {"target": "kind"}, "column 'height' has an empty cell in line 3"),
        (
            TABLE.replace("blue,9,a2,9", "blue,9,a2,"),
            {"target": "kind"},
            "column 'kind' has an empty cell in line 3",
        ),
        (
            TABLE.replace("red,10", "red"),
            {"target": "kind"},
            "line 2: it has 5 cells where the first line names 6",
        ),
        (TABLE.replace("zip", "height"), {"target": "kind"}, "has two columns 'height'"),
        (
            TABLE,
            {"target": "kind", "inputs": "height,kind"},
            "column 'kind' is to be predicted: name it once",
        ),
        (
            TABLE,
            {"target": "height,height", "task": "regression"},
            "column 'height' is to be predicted: name it once",
        ),
        (
            TABLE,
            {"target": "height"},
            "column 'height' holds numbers, such as '1.5' in line 2: to predict them give --data.task regression; if .*"
            "--data.task classes",
        ),
        ("a,b\n", {"target": "b"}, "has 1 lines, expected one that names the columns"),
        ("", {"target": "b"}, "has 0 lines"),
        (TABLE, {"target": "kind", "separator": "::"}, "is no CSV file in UTF-8 with '::' between cells"),
        ('a,b\n"1,2\n', {"target": "b"}, "is no CSV file"),
        (
            "a,b\n" + "".join(f"x{n},{n % 2}\n" for n in range(101)),
            {"target": "b"},
            "column 'a' holds 101 different texts, more than the 100 that are taken as kinds",
        ),
    ],
)
def test_what_is_no_table_is_one_line(write, text, settings, why):
    with pytest.raises(UserMistake, match=why) as caught:
        data.load(write(text), **settings)
    assert "\n" not in str(caught.value)


def test_a_table_that_is_not_there_or_not_in_utf_8_is_one_line(tmp_path):
    (tmp_path / "latin.csv").write_bytes("größe,b\n1,2\n".encode("latin-1"))
    for name, why in {
        "no.csv": "No such file",
        "latin.csv": "is no CSV file in UTF-8",
        "": "Is a directory",
    }.items():
        with pytest.raises(UserMistake, match=why):
            data.load(f"table:{tmp_path / name}", target="b")


def test_numbers_are_classes_where_they_are_whole_or_said_to_be_some(write):
    half = data.load(write("x,y\n" + "1,1.0\n2,0.5\n" * 5), target="y", texts="y")
    assert half.task.names == ("0.5", "1.0")
    assert data.load(write("x,y\n" + "1,1.0\n2,0.5\n" * 5), target="y", task="classes").task == half.task
    assert data.load(write("x,y\n" + "1,2.0\n2,1.0\n" * 5), target="y").task.names == ("1.0", "2.0")


def test_a_class_of_the_test_rows_alone_is_refused_by_name(write):
    rows = "1,a,train\n2,b,train\n3,c,test\n"
    with pytest.raises(
        UserMistake, match="its test part has examples of class 'c', and its training part has"
    ):
        data.load(write("x,y,part\n" + rows), target="y", part="part")


@pytest.mark.parametrize("spelled", ["{}", "{}.0", "{}e0"])
def test_very_many_whole_numbers_are_classes_only_where_that_is_said(write, spelled):
    def of(different, each=1):
        rows = (f"{row},{spelled.format(row % different)}\n" for row in range(different * each))
        return write("x,y\n" + "".join(rows))

    with pytest.raises(
        UserMistake, match="column 'y': the targets of 21 examples are 21 different whole numbers: say"
    ):
        data.load(of(21), target="y")
    with pytest.raises(UserMistake, match="of 270 examples are 30 different"):
        data.load(of(30, each=9), target="y")
    assert data.load(of(20), target="y", task="regression").task.kind == "regression"
    for text, settings in ((of(21), {"task": "classes"}), (of(20), {}), (of(30, each=10), {})):
        assert data.load(text, target="y", **settings).task.kind == "classes"
