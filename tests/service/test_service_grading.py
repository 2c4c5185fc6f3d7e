"""The service grades as `inspect --grade` does, and its answers, record, page and metrics say so."""

from __future__ import annotations

import json
from dataclasses import asdict

import pytest
from fastapi.testclient import TestClient

import pellucid
from pellucid.acquisition.files import image_files
from pellucid.errors import ModelFileError, ParameterError
from pellucid.regions.rules import shipped_text
from pellucid.service.app import create_app, create_service
from pellucid.service.language.translator import Translator
from pellucid.service.pages.inspect import grade_sentence
from pellucid.service.settings import read_settings

PLAN = """
[[panes]]
name = "left"
rectangle_mm = [0, 0, 60, 128]

[[panes]]
name = "right"
rectangle_mm = [60, 0, 68, 128]
"""


@pytest.fixture(scope="module")
def inspector(glass):
    return pellucid.fit(glass, "padim", image_size=64, false_reject=0.1, n_features=20, mm_per_px=0.5)


@pytest.fixture(scope="module")
def bad(inspector, glass):
    return next(f for f in image_files(glass / "abnormal_test") if inspector.inspect(f).defects)


@pytest.fixture(scope="module")
def graded(inspector, tmp_path_factory):
    """A service that grades by en1279 and a cut plan; one model has a rule of its own, another no scale."""
    folder = tmp_path_factory.mktemp("graded")
    (folder / "models").mkdir()
    inspector.save(folder / "models/pane.pellucid")
    inspector.save(folder / "models/own.pellucid")
    (folder / "models/own.rules.toml").write_text(shipped_text("c1036-q3"), "utf-8")
    (folder / "plan.toml").write_text(PLAN, "utf-8")
    settings = {"models": folder / "models", "record": folder / "record", "pages": False, "runtime": "torch"}
    made = create_service(read_settings(settings | {"grade": "en1279", "cut_plan": folder / "plan.toml"}))
    yield made
    made.queue.close()
    made.database.close()


def send(service, image, model):
    client = TestClient(create_app(service), base_url="http://127.0.0.1")  # without its end, which ends the service
    sent = client.post("/inspect", files={"files": (image.name, image.read_bytes())}, params={"model": model})
    assert sent.status_code == 200, sent.text
    (answer,) = sent.json()["items"]
    kept = client.get(f"/inspections/{answer['id']}").json()
    metrics = client.get("/metrics").text
    page = client.get(f"/inspections/{answer['id']}/sheet")
    return answer, kept, metrics, page


@pytest.mark.parametrize(("model", "rules"), [("pane", "en1279"), ("own", "c1036-q3")])
def test_answer_record_and_metrics_have_the_grade_of_inspect(graded, inspector, bad, tmp_path, model, rules):
    (tmp_path / "plan.toml").write_text(PLAN, "utf-8")
    expected = inspector.with_grading(rules, cut_plan=tmp_path / "plan.toml").inspect(bad).grade
    answer, kept, metrics, page = send(graded, bad, model)
    assert answer["grade"] == json.loads(json.dumps(asdict(expected)))
    assert kept["grade"] == answer["grade"]
    assert [one["pane"] for one in answer["grade"]["by_pane"]] == ["left", "right"]
    told = f'pellucid_graded_total{{grade="{expected.verdict}",model="{model}",rules="{rules}"}} 1.0'
    assert told in metrics
    assert page.status_code == 200
    assert f"{rules}: {expected.verdict.upper()}" in page.text
    said = grade_sentence(Translator("en"), answer["grade"])
    assert f"by {rules}" in said
    assert expected.clauses in said
    assert all(f"{one.pane} {one.verdict}" in said for one in expected.by_pane)
    assert rules in grade_sentence(Translator("fa"), answer["grade"])


def test_a_model_without_a_scale_does_not_grade_unless_a_rule_lies_beside_it(glass, graded, caplog):
    caplog.set_level("INFO", logger="pellucid")
    made = pellucid.fit(glass, "padim", image_size=64, false_reject=0.1, n_features=20)
    folder = graded.registry.folder
    made.save(folder / "bare.pellucid")
    assert graded.registry.get("bare").inspector.grading is None
    assert "model bare has no scale and does not grade: fit it with --mm-per-px" in caplog.text
    made.save(folder / "wrong.pellucid")
    (folder / "wrong.rules.toml").write_text(shipped_text("en1279"), "utf-8")
    with pytest.raises(ModelFileError, match="is to grade by, and the model 'wrong' has no scale: fit it with"):
        graded.registry.get("wrong")


def test_a_rule_that_cannot_be_understood_is_told_when_the_model_loads(graded, inspector):
    folder = graded.registry.folder
    inspector.save(folder / "odd.pellucid")
    (folder / "odd.rules.toml").write_text("name = 'odd'\n", "utf-8")
    with pytest.raises(ModelFileError, match="The model 'odd' cannot grade: "):
        graded.registry.get("odd")


def test_a_plan_without_a_rule_and_an_unknown_rule_are_refused(tmp_path):
    with pytest.raises(ParameterError, match="--cut-plan says what is graded: give --grade as well"):
        read_settings({"cut_plan": tmp_path / "plan.toml"}).grading()
    with pytest.raises(ParameterError, match="en1279"):
        read_settings({"grade": "en1278"}).grading()
    assert read_settings({}).grading() is None
