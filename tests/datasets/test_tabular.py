"""Adult and COMPAS: parsing, parting and messages."""

import numpy as np
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


def test__load_adult__says_what_to_pass(adult):
    with pytest.raises(ValueError, match="split='dev' is not in Adult: pass one of train, test"):
        load_adult(adult, split="dev")
    with pytest.raises(ValueError, match="asked for of one file: leave it out"):
        load_adult(adult / "adult-test.csv", split="test")
    with pytest.raises(ValueError, match=r"sensitive=\['gender'\] is not in the table"):
        load_adult(adult, sensitive=["gender"])
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


@pytest.mark.data
def test__load_tabular__reads_the_real_files(data_dir):
    adult = load_adult(data_dir / "tabular", split="train")
    assert adult.data.shape == (32561, 11)
    assert adult.target.mean() == pytest.approx(0.241, abs=0.001)
    assert load_compas(data_dir / "tabular").data.shape == (6172, 6)
