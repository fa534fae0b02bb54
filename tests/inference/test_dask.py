"""Any joblib backend serves: reading and batch inference on a Dask cluster give the files of a plain run."""

from __future__ import annotations

from pathlib import Path

import joblib
import pytest

from twelvelead.data.folders import find_recordings
from twelvelead.inference.classify import classify_folder
from twelvelead.inference.ensemble import load_ensemble
from twelvelead.recipes import Input
from twelvelead.training.store import build_store

pytestmark = pytest.mark.slow
distributed = pytest.importorskip("distributed", reason="needs dask.distributed: pip install distributed")


@pytest.fixture(scope="module")
def cluster():
    """A client of two worker processes on this machine; joblib's backend "dask" finds it."""
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0") as local:  # noqa: SIM117
        with distributed.Client(local) as client:
            yield client


@pytest.fixture
def small_chunks(monkeypatch):
    """Jobs of four recordings: `hospital` makes twelve of them."""
    monkeypatch.setattr("twelvelead.training.store.CHUNK", 4)
    monkeypatch.setattr("twelvelead.inference.classify.CHUNK", 4)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.mark.slow
def test_a_store_built_on_a_cluster_equals_one_built_here(cluster, hospital, small_chunks, tmp_path):
    headers = find_recordings(hospital)
    build_store(headers, Input(), tmp_path / "here", root=hospital, jobs=1)
    with joblib.parallel_config(backend="dask"), distributed.get_task_stream(cluster) as stream:
        build_store(headers, Input(), tmp_path / "cluster", root=hospital)
    assert contents(tmp_path / "here") == contents(tmp_path / "cluster")
    assert stream.data  # jobs that the workers did


@pytest.mark.slow
def test_outputs_of_a_cluster_equal_those_of_this_process(cluster, hospital, tiny_model, small_chunks, tmp_path):
    ensemble = load_ensemble(tiny_model)
    classify_folder(ensemble, hospital, tmp_path / "here", jobs=1)
    with joblib.parallel_config(backend="dask"), distributed.get_task_stream(cluster) as stream:
        report = classify_folder(ensemble, hospital, tmp_path / "cluster")
    assert report.faults == ()
    assert contents(tmp_path / "here") == contents(tmp_path / "cluster")
    assert stream.data
