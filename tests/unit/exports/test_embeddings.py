"""Embeddings of slices by encoders of a user, what a probe finds in them, and maps of clusters."""

from __future__ import annotations

import csv
import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from derivative_tree import Tree
from PIL import Image

from bids_app.cli.main import run
from bids_app.exports.clusters import kmeans_map
from bids_app.exports.embeddings import read_embeddings, read_picture
from bids_app.exports.encoders import EncoderError, load_encoder
from bids_app.exports.journal import read_records
from bids_app.exports.probe import ProbeError, linear_probe
from bids_app.exports.vit import ImageEncoder, VitShape
from bids_app.steps.images import new_image


class Quarters(torch.nn.Module):
    """Features with a meaning: a map of 4 x 4 means, and their squares."""

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        means = torch.nn.functional.adaptive_avg_pool2d(pictures[:, :1], 4)
        return torch.cat([means, means * means], 1)


@pytest.fixture(scope="module")
def script(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("encoder") / "encoder.pt"
    torch.jit.trace(Quarters(), torch.rand(1, 3, 32, 32)).save(str(path))
    return path


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory, script: Path) -> Path:
    """Bright women and dark men; a label where it is bright."""
    pytest.importorskip("pyarrow", reason="pyarrow is not installed: embeddings are not tested")
    tree = Tree.at(tmp_path_factory.mktemp("slices"), shape=(16, 16, 6))
    noise = np.random.default_rng(0)
    for number in range(10):
        array = noise.normal(100, 10, (16, 16, 6)).astype(np.float32)
        array[:, :, :] *= 1 + (number % 2) * (np.arange(16)[:, None, None] >= 8)
        array[0, 0, :] = 1000  # so that the scale is the same
        tree.study(f"{number:02d}", contrasts=("T1w",), image=new_image(array, tree.affine()))
    tree.people({f"{number:02d}": ("40", "FM"[number % 2]) for number in range(10)})
    words = ("--embed", str(script), "--embed-size", "32", "--probe", "sex", "--export-label", "brain", "--kmeans", "2")
    code = run(
        [str(tree.bids), str(tree.output), "export", "--format", "slices", "--nprocs", "1", *words], {**os.environ}
    )
    assert code == 0
    return tree.output / "exports" / "slices"


def test_embeddings_are_the_pooled_features_of_each_slice(exported: Path) -> None:
    rows, vectors = read_embeddings(exported / "embeddings")
    with (exported / "slices.csv").open(newline="") as file:
        assert rows == list(csv.DictReader(file))
    assert vectors.shape == (60, 2)
    for row, vector in list(zip(rows, vectors, strict=True))[:6]:
        with Image.open(exported / row["path"]) as image:
            pixels = np.asarray(image) / 255
        assert vector[0] == pytest.approx(pixels.mean(), abs=5e-3)


def test_the_probe_recovers_what_is_there(exported: Path) -> None:
    found = json.loads((exported / "embeddings" / "probe_sex.json").read_text())
    assert found["classes"] == ["F", "M"]
    assert (found["patients_fit"], found["patients_test"]) == (6, 4)
    assert found["accuracy"] == 1.0
    assert found["confusion_matrix"] == [[12, 0], [0, 12]]


def test_kmeans_are_written_for_each_slice_with_a_label(exported: Path) -> None:
    with (exported / "embeddings" / "kmeans.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 60
    with Image.open(exported / rows[0]["map_path"]) as image:
        assert np.asarray(image).shape == (4, 4)
        assert set(np.asarray(image).ravel().tolist()) == {0, 1}


def test_a_second_run_computes_nothing_and_other_settings_do(exported: Path, script: Path) -> None:
    part = exported / "embeddings" / "part-00000.parquet"
    before = (part.stat().st_mtime_ns, part.read_bytes())
    tree = exported.parents[1].parent
    words = ["--format", "slices", "--nprocs", "1", "--export-label", "brain", "--embed"]
    command = [str(tree / "bids"), str(tree / "out"), "export", *words]
    assert run([*command, str(script), "--embed-size", "32"], {**os.environ}) == 0
    assert (part.stat().st_mtime_ns, part.read_bytes()) == before
    pytest.importorskip("zarr", reason="zarr is not installed: embeddings in it are not tested")
    assert run([*command, str(script), "--embed-size", "32", "--embed-format", "zarr"], {**os.environ}) == 0
    assert not part.exists()
    rows, vectors = read_embeddings(exported / "embeddings")
    assert (len(rows), vectors.shape) == (60, (60, 2))
    assert run([*command, str(script), "--embed-size", "32"], {**os.environ}) == 0
    assert part.read_bytes() == before[1], "the same bytes again"
    again, same = read_embeddings(exported / "embeddings")
    assert again == rows
    np.testing.assert_array_equal(same, vectors)


def test_a_planted_label_is_recovered_and_a_random_one_is_not() -> None:
    """400 slices of 100 patients: chance is 0.5, with a standard deviation of about 0.5 / sqrt(160) = 0.04."""
    noise = np.random.default_rng(1)
    patients = [f"p{index // 4}" for index in range(400)]
    planted = [("no", "yes")[index // 4 % 2] for index in range(400)]
    vectors = noise.normal(size=(400, 16)).astype(np.float32)
    vectors[:, 3] += 4.0 * np.array([one == "yes" for one in planted])
    found = linear_probe(vectors, planted, patients, seed=0)
    assert found["accuracy"] > 0.95
    assert (found["patients_fit"], found["patients_test"]) == (60, 40)
    random = [str(one) for one in noise.integers(0, 2, 400)]
    accuracies = [linear_probe(vectors, random, patients, seed)["accuracy"] for seed in range(3)]
    assert all(0.35 < one < 0.65 for one in accuracies), accuracies
    assert found == linear_probe(vectors, planted, patients, seed=0)
    with pytest.raises(ProbeError, match="the column has 400 values"):
        linear_probe(vectors, [str(index) for index in range(400)], patients, seed=0)


def test_clusters_find_a_planted_region() -> None:
    label = np.zeros((16, 16), bool)
    label[4:12, 3:9] = True
    features = np.random.default_rng(0).normal(size=(8, 16, 16)).astype(np.float32)
    features[2] += 10 * label
    clusters, dice = kmeans_map(features, label, 2, seed=0)
    assert dice > 0.98
    assert len(set(clusters[label].tolist())) == 1
    _, without = kmeans_map(np.random.default_rng(1).normal(size=(8, 16, 16)).astype(np.float32), label, 2, seed=0)
    assert without < 0.4
    np.testing.assert_array_equal(clusters, kmeans_map(features, label, 2, seed=0)[0])


def test_an_onnx_encoder_gives_what_the_module_gives(tmp_path: Path) -> None:
    onnx: Any = pytest.importorskip("onnx", reason="onnx is not installed: ONNX encoders are not tested")
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed: ONNX encoders are not tested")
    helper = onnx.helper
    kind = onnx.TensorProto.FLOAT
    weight = np.random.default_rng(0).normal(size=(5, 3, 8, 8)).astype(np.float32)
    graph = helper.make_graph(
        [helper.make_node("Conv", ["pictures", "weight"], ["features"], strides=[8, 8])], "encoder",
        [helper.make_tensor_value_info("pictures", kind, ["n", 3, 32, 32])],
        [helper.make_tensor_value_info("features", kind, ["n", 5, 4, 4])],
        [onnx.numpy_helper.from_array(weight, "weight")],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, str(tmp_path / "encoder.onnx"))
    pictures = np.random.default_rng(1).random((2, 3, 32, 32)).astype(np.float32)
    found = load_encoder(tmp_path / "encoder.onnx", 32, "cpu", 1)(pictures)
    expected = torch.nn.functional.conv2d(torch.from_numpy(pictures), torch.from_numpy(weight), stride=8)
    np.testing.assert_allclose(found, expected.numpy(), atol=1e-5)


def test_sams_weights_give_maps_of_256_features(tmp_path: Path) -> None:
    """The real ViT-B, trained at a smaller size so that the test is quick; pixels are normalised as SAM does."""
    torch.manual_seed(0)
    module = ImageEncoder(VitShape(image=64)).eval()
    torch.save({f"image_encoder.{name}": one for name, one in module.state_dict().items()}, tmp_path / "sam.pth")
    encoder = load_encoder(tmp_path / "sam.pth", 64, "cpu", 1)
    pictures = np.random.default_rng(0).random((1, 3, 64, 64)).astype(np.float32)
    found = encoder(pictures)
    assert found.shape == (1, 256, 4, 4)
    mean, std = np.array([123.675, 116.28, 103.53]), np.array([58.395, 57.12, 57.375])
    normal = (255 * pictures - mean[:, None, None]) / std[:, None, None]
    with torch.inference_mode():
        expected = module(torch.from_numpy(normal.astype(np.float32)))
    np.testing.assert_allclose(found, expected.numpy(), atol=1e-3)


def test_pictures_keep_their_shape(tmp_path: Path) -> None:
    Image.fromarray(np.full((10, 20), 255, np.uint8)).save(tmp_path / "wide.png")
    picture = read_picture(tmp_path / "wide.png", 40)
    assert picture.shape == (3, 40, 40)
    assert picture[:, :20].min() == 1.0
    assert picture[:, 20:].max() == 0.0


def test_what_is_no_encoder_is_told(tmp_path: Path) -> None:
    (tmp_path / "text.pt").write_text("no encoder")
    with pytest.raises(EncoderError, match="is no TorchScript, ONNX or weights file"):
        load_encoder(tmp_path / "text.pt", None, "cpu", 1)
    torch.save({"conv.weight": torch.zeros(1)}, tmp_path / "other.pt")
    with pytest.raises(EncoderError, match="not the image encoder of SAM"):
        load_encoder(tmp_path / "other.pt", None, "cpu", 1)
    if not torch.cuda.is_available():
        with pytest.raises(EncoderError, match="torch sees no GPU"):
            load_encoder(tmp_path / "other.pt", None, "cuda", 1)


def export(tree: Tree, *words: str) -> int:
    where = [str(tree.bids), str(tree.output), "export", "--format", "slices", "--nprocs", "1"]
    return run([*where, *words], {**os.environ})


def test_what_can_be_told_first_is_told_before_anything_is_written(
    tmp_path: Path, script: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tree = Tree.at(tmp_path)
    tree.study("01", contrasts=("T1w",))
    (tmp_path / "text.pt").write_text("no encoder")
    assert export(tree, "--embed", str(tmp_path / "text.pt")) == 66
    assert "is no TorchScript, ONNX or weights file" in capsys.readouterr().err
    assert export(tree, "--embed", str(script), "--probe", "diagnosis") == 64
    assert "--probe diagnosis: the slices have no such column" in capsys.readouterr().err
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "pyarrow", None)
        assert export(tree, "--embed", str(script)) == 66
    assert "--embed-format parquet needs pyarrow" in capsys.readouterr().err
    assert not (tree.output / "exports").exists()
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        assert export(tree, "--export-dir", str(folder)) == 73
        assert "is a file, or lies below one: name a folder" in capsys.readouterr().err


def test_no_slice_to_embed_is_told(tmp_path: Path, script: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("pyarrow", reason="pyarrow is not installed: embeddings are not tested")
    tree = Tree.at(tmp_path)
    tree.study("01", contrasts=("T1w",), image=new_image(np.zeros(tree.shape, np.float32), tree.affine()))
    assert export(tree, "--embed", str(script), "--embed-size", "32", "--probe", "contrast") == 18
    assert "no slice is left to embed" in capsys.readouterr().out


def test_nothing_of_a_withdrawn_participant_stays(tmp_path: Path, script: Path) -> None:
    pytest.importorskip("pyarrow", reason="pyarrow is not installed: embeddings are not tested")
    tree = Tree.at(tmp_path)
    for number in range(6):
        tree.study(f"{number:02d}", contrasts=("T1w", "FLAIR"))
    root = tree.output / "exports" / "slices"
    encoder = ("--embed", str(script), "--embed-size", "32", "--kmeans", "2")

    def withdraw(label: str) -> None:
        for folder in (f"sub-{label}", f"logs/sub-{label}"):
            shutil.rmtree(tree.output / folder)

    def unlisted() -> set[str]:
        folders = [path.parent for path in root.rglob("manifest.jsonl")]
        listed = {folder / file.path for folder in folders for one in read_records(folder) for file in one.files}
        return {path.name for path in set(root.rglob("*")) - listed if path.is_file()} - {"manifest.jsonl"}

    assert export(tree, "--export-label", "brain", *encoder, "--probe", "contrast") == 0
    assert unlisted() == set()
    assert export(tree, "--export-label", "brain") == 0
    assert (root / "embeddings" / "probe_contrast.json").is_file(), "nothing has changed"
    withdraw("03")
    assert export(tree, "--export-label", "brain", *encoder) == 0
    assert {path.name for path in (root / "embeddings").iterdir()} == {
        "manifest.jsonl",
        "part-00000.parquet",
        "kmeans",
        "kmeans.csv",
    }
    assert {row["patient"] for row in read_embeddings(root / "embeddings")[0]} == {
        f"sub-{number:02d}" for number in (0, 1, 2, 4, 5)
    }
    assert not [path for path in root.rglob("*") if "sub-03" in path.name]
    withdraw("04")
    assert export(tree, "--export-label", "brain") == 0
    assert [path.name for path in (root / "embeddings").iterdir()] == ["manifest.jsonl"]
    assert unlisted() == set()
