from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import load_dataset

from builder.evaluate.measures import RCS, overall
from builder.evaluate.output import write_report
from builder.evaluate.page import make_page
from builder.evaluate.predictions import PREDICTIONS_FILE
from builder.evaluate.report import Report
from builder.evaluate.suite import Told
from tests.evaluate.synthetic import synthetic_report


def write(out: Path, report: Report) -> None:
    (out / PREDICTIONS_FILE).parent.mkdir(parents=True)
    pq.write_table(pa.table({"model": list(report.scores)}), out / PREDICTIONS_FILE)
    write_report(out, report.scores, Told(report.summary(), make_page(report)), out / ".work")


def test_scores_load_by_name(tmp_path: Path) -> None:
    report = synthetic_report(2, 3)
    write(tmp_path, report)
    rows = list(load_dataset(str(tmp_path), "scores", split="train", streaming=True))
    assert rows == [
        {"model": model, **asdict(score)}
        for model, scores in report.scores.items()
        for score in scores
    ]


def test_the_json_tells_of_each_model_and_of_all(tmp_path: Path) -> None:
    report = synthetic_report(3, 4)
    write(tmp_path, report)
    told = json.loads((tmp_path / "report.json").read_text())
    assert told["k"] == report.k
    assert told["made_from"] == report.identity
    for model, own in told["models"].items():
        assert own["family"] == report.families[model]
        assert own["effective_robustness"] == report.robustness[model]
        score = overall(report.scores[model])[RCS]
        assert own["means"][RCS] == {"value": score.value, "low": score.low, "high": score.high}
    assert report.comparison
    assert told["correlation"] == pytest.approx(report.comparison.correlation)
    assert told["variance_ratio"] == pytest.approx(report.comparison.variance_ratio)


@pytest.mark.filterwarnings("ignore:Mean of empty slice")
def test_models_that_all_agree_still_give_valid_json(tmp_path: Path) -> None:
    """Where no gap differs there is no correlation, and a ratio of nothing to nothing."""
    report = synthetic_report(2, 3)
    same = [replace(score, value=0.0) for score in next(iter(report.scores.values()))]
    same_scores = dict.fromkeys(report.scores, same)
    write(tmp_path, replace(report, scores=same_scores))

    def refused(name: str) -> None:
        raise AssertionError(f"{name} is no JSON")

    told = json.loads((tmp_path / "report.json").read_text(), parse_constant=refused)
    assert told["correlation"] is None
    assert told["variance_ratio"] is None
    page = (tmp_path / "report.html").read_text()
    assert "NaN" not in page.partition('id="plotly"')[0]
