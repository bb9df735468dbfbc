"""Adult and COMPAS: parsing, parting and messages."""

import csv
import io

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.preprocessing import OneHotEncoder

from skfairlatent.datasets import load_adult, load_compas

ADULT_HEADER = (
    "age,workclass,fnlwgt,education,education-num,marital-status,occupation,relationship,race,"
    "sex,capital-gain,capital-loss,hours-per-week,native-country,income\n"
)
ADULT_ROWS = [
    "39,State-gov,77516,Bachelors,13,Never-married,Sales,Not-in-family,White,Male,2174,0,40,"
    "United-States,<=50K",
    "28,?,338409,HS-grad,9,Married-civ-spouse,?,Wife,Black,Female,0,0,38,Cuba,>50K",
]
COMPAS_HEADER = (
    "id,name,sex,age,race,juv_fel_count,decile_score,juv_misd_count,juv_other_count,priors_count,"
    "days_b_screening_arrest,c_charge_degree,is_recid,decile_score,score_text,two_year_recid\n"
)
COMPAS_ROWS = {
    "kept": "1,x,Male,30,Other,0,1,0,0,2,-1,F,0,1,Low,0",
    "kept too": "2,x,Female,40,Caucasian,0,7,0,1,0,30,M,1,7,High,1",
    "late": "3,x,Male,30,Other,0,1,0,0,0,31,F,0,1,Low,0",
    "no date": "4,x,Male,30,Other,0,1,0,0,0,,F,0,1,Low,0",
    "unknown": "5,x,Male,30,Other,0,1,0,0,0,0,F,-1,1,Low,0",
    "traffic": "6,x,Male,30,Other,0,1,0,0,0,0,O,0,1,Low,0",
    "no score": "7,x,Male,30,Other,0,-1,0,0,0,0,F,0,-1,N/A,0",
}


@pytest.fixture
def adult(tmp_path):
    text = ADULT_HEADER + "\n".join(ADULT_ROWS) + "\n"
    (tmp_path / "adult-train.csv").write_text(text)
    (tmp_path / "adult-test.csv").write_text(text.replace("50K\n", "50K.\n") + "\n")
    return tmp_path


@pytest.fixture
def compas(tmp_path):
    text = COMPAS_HEADER + "\n".join(COMPAS_ROWS.values()) + "\n"
    (tmp_path / "compas-two-years.csv").write_text(text)
    return tmp_path


def test__load_adult__parts_features_target_and_groups(adult):
    loaded = load_adult(adult)
    assert loaded.target.tolist() == [0, 1, 0, 1]
    assert loaded.split.tolist() == ["train", "train", "test", "test"]
    assert loaded.sensitive_features.columns.tolist() == ["sex", "race"]
    assert loaded.sensitive_features["sex"].tolist() == ["Male", "Female"] * 2
    assert loaded.sample_weight.tolist() == [77516.0, 338409.0] * 2
    assert set(loaded.data.columns).isdisjoint({"sex", "race", "income", "fnlwgt"})
    assert loaded.data["workclass"].isna().tolist() == [False, True] * 2
    assert set(loaded.numeric_features) | set(loaded.categorical_features) == set(loaded.data)
    assert loaded.numeric_features[0] == "age"


def test__load_adult__is_ready_for_a_column_transformer(adult):
    loaded = load_adult(adult, split="train")
    encoder = make_column_transformer(
        ("passthrough", loaded.numeric_features),
        (OneHotEncoder(sparse_output=False), loaded.categorical_features),
        (SimpleImputer(), loaded.numeric_features),
    )
    assert np.isfinite(encoder.fit_transform(loaded.data)).all()


@pytest.mark.parametrize(("split", "n_rows"), [("train", 2), ("test", 2), (None, 4)])
def test__load_adult__takes_one_split(adult, split, n_rows):
    assert len(load_adult(adult, split=split).data) == n_rows


def test__load_adult__reads_one_file_and_other_groups(adult):
    loaded = load_adult(adult / "adult-test.csv", sensitive="sex")
    assert loaded.split is None
    assert loaded.sensitive_features.columns.tolist() == ["sex"]
    assert "race" in loaded.categorical_features


def test__load_adult__reads_the_uci_files(tmp_path):
    rows = "\n".join(row.replace(",", ", ") for row in ADULT_ROWS)
    (tmp_path / "adult.data").write_text(rows + "\n\n")
    (tmp_path / "adult.test").write_text("|1x3 Cross validator\n" + rows.replace("50K", "50K."))
    loaded = load_adult(tmp_path)
    assert loaded.target.tolist() == [0, 1, 0, 1]
    assert loaded.data["workclass"].isna().tolist() == [False, True] * 2


def _adult_table():
    return pd.read_csv(io.StringIO(ADULT_HEADER + "\n".join(ADULT_ROWS)), dtype=str)


ADULT_COPIES = {
    "quoted": lambda table: table.to_csv(index=False, quoting=csv.QUOTE_ALL),
    "mark": lambda table: "\ufeff" + table.to_csv(index=False),
    "mark, no header": lambda table: "\ufeff" + table.to_csv(index=False, header=False),
    "index": lambda table: table.to_csv(),
    "another order": lambda table: table[sorted(table.columns)].to_csv(index=False),
    "one column more": lambda table: table.assign(id=1).to_csv(index=False),
    "semicolons": lambda table: table.to_csv(index=False, sep=";"),
    "tabs, no header": lambda table: table.to_csv(index=False, header=False, sep="\t"),
    "spaces": lambda table: table.to_csv(index=False).replace(",", " , "),
    "other line ends": lambda table: table.to_csv(index=False, lineterminator="\r\n"),
    "capitals": lambda table: table.rename(columns=str.upper).to_csv(index=False),
    "underscores": lambda table: table.to_csv(index=False).replace("-num", "_num"),
    "full stops": lambda table: table.to_csv(index=False, header=False).replace("50K", "50K."),
    "dots, of Kaggle": lambda table: table.rename(columns=_dotted).to_csv(index=False),
    "other names, of Kaggle": lambda table: table.rename(
        columns={"education-num": "educational-num", "sex": "gender"}
    ).to_csv(index=False),
    "OpenML": lambda table: table.rename(columns={"income": "class"}).to_csv(index=False),
}


def _dotted(name):
    return name.replace("-", ".")


@pytest.mark.parametrize("copy", ADULT_COPIES)
def test__load_adult__knows_columns_by_name_in_every_copy(tmp_path, adult, copy):
    path = tmp_path / "adult.csv"
    path.write_text(ADULT_COPIES[copy](_adult_table()), "utf-8")
    loaded, expected = load_adult(path), load_adult(adult / "adult-train.csv")
    pd.testing.assert_frame_equal(loaded.data, expected.data)
    pd.testing.assert_frame_equal(loaded.sensitive_features, expected.sensitive_features)
    assert loaded.target.tolist() == expected.target.tolist()
    assert loaded.sample_weight.tolist() == expected.sample_weight.tolist()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("\n39,", "\nforty,"), "holds 'forty' in row 1 of column 'age' .*number from 0 to 120"),
        (("\n39,", "\n-39,"), "holds '-39' in row 1 of column 'age'"),
        (("338409", "?"), "holds no value in row 2 of column 'fnlwgt'"),
        ((",Male", ",White"), "holds 'White' in row 1 of column 'sex' .*expected Male or Female"),
        (("<=50K", "?"), "holds no value in row 1 of column 'income'"),
        (("<=50K", "50000"), "holds '50000' in row 1 of column 'income' .*<=50K or >50K"),
        (("<=50K", ""), "holds no value in row 1 of column 'income'"),
        ((",<=50K", ""), r"has 14 fields in line 2 and 15 columns \(age, workclass"),
        (("age,", "age,id,"), r"has 15 fields in line 2 and 16 columns"),
        (("age,", ""), r"has 15 fields in line 2 and 14 columns"),
        (("age,", "Alter,"), "lacks the columns age: pass the published file"),
        (("age,", "gender,"), "lacks the columns age"),
        (("workclass", "race"), "has more than one column 'race'"),
        (("age,workclass", "workclass,age"), "holds 'State-gov' in row 1 of column 'age'"),
    ],
)
def test__load_adult__does_not_believe_its_file(tmp_path, change, message):
    path = tmp_path / "adult.csv"
    path.write_text((ADULT_HEADER + "\n".join(ADULT_ROWS)).replace(*change, 1))
    with pytest.raises(ValueError, match=f"'adult.csv' {message}"):
        load_adult(path)


def test__load_adult__compares_splits_as_other_loaders_do(adult):
    assert (
        load_adult(adult, split=["test", "train"]).split.tolist() == ["train"] * 2 + ["test"] * 2
    )
    with pytest.raises(ValueError, match=r"split=\[\] is not in Adult: pass one of train, test"):
        load_adult(adult, split=[])


def test__load_adult__says_what_to_pass(adult):
    with pytest.raises(ValueError, match="split='dev' is not in Adult: pass one of train, test"):
        load_adult(adult, split="dev")
    with pytest.raises(ValueError, match="asked for of one file: leave it out"):
        load_adult(adult / "adult-test.csv", split="test")
    with pytest.raises(ValueError, match=r"sensitive=\['gender'\] is not in the table"):
        load_adult(adult, sensitive=["gender"])
    with pytest.raises(ValueError, match="sensitive= has more than one column 'sex'"):
        load_adult(adult, sensitive=["sex", "sex"])
    with pytest.raises(TypeError, match=r"sensitive=None is no list of columns: pass some of"):
        load_adult(adult, sensitive=None)
    with pytest.raises(FileNotFoundError, match="does not exist: pass the path of the folder of"):
        load_adult(adult / "nowhere")
    (adult / "adult-test.csv").write_text(ADULT_HEADER + ADULT_ROWS[0].replace("<=50K", "low"))
    with pytest.raises(ValueError, match=r"'adult-test.csv' holds 'low' in row 1 of .*'income'"):
        load_adult(adult)
    (adult / "adult-test.csv").write_text("age,sex\n1,Male\n")
    with pytest.raises(ValueError, match=r"'adult-test.csv' lacks the columns workclass"):
        load_adult(adult)
    (adult / "adult-test.csv").unlink()
    with pytest.raises(FileNotFoundError, match="No test part of Adult in"):
        load_adult(adult)


def test__load_compas__keeps_the_published_rows(compas):
    loaded = load_compas(compas)
    assert loaded.target.tolist() == [0, 1]
    assert loaded.decile_score.tolist() == [1, 7]
    assert loaded.sensitive_features.to_dict("list") == {
        "race": ["Other", "Caucasian"],
        "sex": ["Male", "Female"],
    }
    assert loaded.categorical_features == ["c_charge_degree"]
    assert "name" not in loaded.data
    assert loaded.data.index.tolist() == [0, 1]


def test__load_compas__can_keep_every_row(compas):
    loaded = load_compas(
        compas / "compas-two-years.csv", published_filter=False, sensitive=["sex"]
    )
    assert len(loaded.target) == len(COMPAS_ROWS)
    assert "race" in loaded.data


def test__load_compas__says_what_to_pass(compas):
    with pytest.raises(ValueError, match=r"sensitive=\['gender'\] is not in the table"):
        load_compas(compas, sensitive=["gender"])
    (compas / "compas-two-years.csv").write_text("sex,age\nMale,30\n")
    with pytest.raises(ValueError, match="lacks the columns race"):
        load_compas(compas)
    (compas / "compas-two-years.csv").unlink()
    with pytest.raises(FileNotFoundError, match="No COMPAS table in"):
        load_compas(compas)


@pytest.mark.parametrize("how", [{}, {"sep": ";"}, {"encoding": "utf-8-sig"}, {"index": True}])
def test__load_compas__knows_columns_by_name(tmp_path, compas, how):
    text = (COMPAS_HEADER + "\n".join(COMPAS_ROWS.values())).replace("decile_score,s", "other,s")
    table = pd.read_csv(io.StringIO(text), dtype=str, keep_default_na=False)
    table[sorted(table.columns)].to_csv(tmp_path / "c.csv", **{"index": False, **how})
    loaded, expected = load_compas(tmp_path / "c.csv"), load_compas(compas)
    pd.testing.assert_frame_equal(loaded.data, expected.data)
    assert loaded.target.tolist() == expected.target.tolist()
    assert loaded.decile_score.tolist() == expected.decile_score.tolist()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("Male,30", "Male,thirty"), "holds 'thirty' in row 1 of column 'age'"),
        (("Male,30", "Male,-1"), "holds '-1' in row 1 of column 'age'"),
        (("Low,0", "Low,2"), "holds '2' in row 1 of column 'two_year_recid' .*expected 0 or 1"),
        (("Low,0", "Low,"), "holds no value in row 1 of column 'two_year_recid'"),
        (("Low,0", "Low"), "has 15 fields in line 2 and 16 columns"),
        (("1,Low", "3,Low"), "holds '3' in row 1 of column 'decile_score.1' .*other column"),
        (("-1,F", "soon,F"), "holds 'soon' in row 1 of column 'days_b_screening_arrest'"),
        (("-1,F", "99,F"), "has no row left: pass published_filter=False"),
    ],
)
def test__load_compas__does_not_believe_its_file(tmp_path, change, message):
    path = tmp_path / "c.csv"
    path.write_text((COMPAS_HEADER + COMPAS_ROWS["kept"]).replace(*change, 1))
    with pytest.raises(ValueError, match=f"'c.csv' {message}"):
        load_compas(path)


@pytest.mark.data
def test__load_tabular__reads_the_real_files(data_dir):
    adult = load_adult(data_dir / "tabular", split="train")
    assert adult.data.shape == (32561, 11)
    assert adult.target.mean() == pytest.approx(0.241, abs=0.001)
    assert load_compas(data_dir / "tabular").data.shape == (6172, 6)
