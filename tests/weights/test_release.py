"""A release is all that is needed, and a damaged one says what is wrong with it."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from mg3d.data.text.tokens import ReportTokenizer
from mg3d.errors import CheckpointError
from mg3d.model.pooling import PoolingConfig
from mg3d.model.swin3d import SwinConfig
from mg3d.model.text import TextConfig
from mg3d.model.vlm import FULL_METHOD, ModelConfig, VisionLanguageModel
from mg3d.weights.release import load_model, model_config_from_dict, save_release

GRID = (16, 16, 16)
PREPROCESSING = {"geometry": {"grid": list(GRID)}, "clauses": "sentence"}


def make_model(tokenizer: ReportTokenizer, parts=FULL_METHOD, **text) -> VisionLanguageModel:
    torch.manual_seed(0)
    config = TextConfig(
        vocabulary_size=tokenizer.vocab_size,
        hidden_size=16,
        num_layers=1,
        num_heads=2,
        intermediate_size=16,
    )
    model = VisionLanguageModel(
        ModelConfig(
            grid=GRID,
            parts=parts,
            dim=16,
            embedding_dim=8,
            clause_dim=4,
            image=SwinConfig(
                patch_size=4, embed_dim=4, depths=(1,), num_heads=(2,), window=(2, 2, 2)
            ),
            text=replace(config, **text),
            pooling=PoolingConfig(num_queries=1, heads=2),
        )
    )
    if "sentence_similarity" in parts:
        model.set_reference(torch.full((16,), 0.25), (0.125, 0.5))
    return model


def embeddings(model: VisionLanguageModel, tokenizer: ReportTokenizer) -> list[torch.Tensor]:
    text = tokenizer.encode_text("No pleural effusion. A nodule.")
    ids, clause_ids = (torch.from_numpy(x)[None] for x in (text.token_ids, text.clause_ids))
    image = torch.linspace(0, 1, 16**3).reshape(1, 1, *GRID)
    with torch.no_grad():
        mask = torch.ones_like(ids).bool()
        return [
            model.embed_image(image),
            model.embed_text(ids, mask, clause_ids),
            model.reference_clauses(ids, mask, clause_ids),
        ]


@pytest.fixture
def folder(bert_folder: Path, tmp_path: Path) -> Path:
    """A release with the embedded text encoder."""
    tokenizer = ReportTokenizer.load(bert_folder)
    save_release(tmp_path / "run" / "release", make_model(tokenizer), tokenizer, PREPROCESSING)
    return tmp_path / "run" / "release"


def test_a_release_answers_as_the_model_did(bert_folder: Path, tmp_path: Path) -> None:
    tokenizer = ReportTokenizer.load(bert_folder)
    model = make_model(tokenizer)
    weights_hash = save_release(tmp_path / "run" / "release", model, tokenizer, PREPROCESSING)
    for place in (tmp_path / "run", str(tmp_path / "run" / "release")):
        release = load_model(place)
        found = embeddings(release.model, release.tokenizer)
        for got, expected in zip(found, embeddings(model.eval(), tokenizer), strict=True):
            assert torch.equal(got, expected)
        assert release.model.config == model.config
        assert release.model.similarity_cutoffs == (0.125, 0.5)
        assert not release.model.training
        assert release.preprocessing == PREPROCESSING
        assert release.weights_hash == weights_hash


@pytest.mark.parametrize("frozen", [False, True])
def test_a_named_text_encoder_comes_along(bert_folder: Path, tmp_path: Path, frozen: bool) -> None:
    tokenizer = ReportTokenizer.load(bert_folder)
    model = make_model(tokenizer, name_or_path=str(bert_folder), frozen=frozen)
    with torch.no_grad():  # as if trained: the folder's own weights would be the wrong ones
        for parameter in model.text_encoder.parameters():
            parameter.mul_(1.5)
    expected = embeddings(model.eval(), tokenizer)
    release_folder = tmp_path / "release"
    save_release(release_folder, model, tokenizer, PREPROCESSING)
    bert_folder.rename(tmp_path / "gone")
    for file in release_folder.rglob("*.json"):
        assert str(tmp_path) not in file.read_text(), file  # nobody's folders
    assert (
        json.loads((release_folder / "config.json").read_text())["model"]["text"]["name_or_path"]
        == "tiny-bert"
    )
    moved = release_folder.rename(tmp_path / "moved")
    release = load_model(moved)
    for got, wanted in zip(embeddings(release.model, release.tokenizer), expected, strict=True):
        assert torch.equal(got, wanted)
    assert release.model.text_encoder.is_frozen == frozen
    save_release(tmp_path / "again", release.model, release.tokenizer, PREPROCESSING)
    for got, wanted in zip(
        embeddings(load_model(tmp_path / "again").model, tokenizer), expected, strict=True
    ):
        assert torch.equal(got, wanted)


def test_an_image_only_model_needs_no_text_encoder(bert_folder: Path, tmp_path: Path) -> None:
    tokenizer = ReportTokenizer.load(bert_folder)
    model = make_model(tokenizer, ("masked_volume",), name_or_path="never/asked-for")
    save_release(tmp_path / "release", model, tokenizer, PREPROCESSING)
    assert not (tmp_path / "release" / "text_encoder").exists()
    assert load_model(tmp_path / "release").model.config.parts == ("masked_volume",)


@pytest.mark.parametrize(
    "name",
    ["config.json", "model.safetensors", "preprocessing.json", "tokenizer/report_tokenizer.json"],
)
def test_a_missing_file_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(CheckpointError, match=rf"{name}: the file is missing.*Give a finished run"):
        load_model(folder)


def test_a_missing_tokenizer_or_architecture_is_no_reason_to_ask_the_hub(
    bert_folder: Path, folder: Path, tmp_path: Path
) -> None:
    (folder / "tokenizer" / "tokenizer.json").unlink()
    with pytest.raises(CheckpointError, match="no tokenizer under"):
        load_model(folder)
    tokenizer = ReportTokenizer.load(bert_folder)
    named = tmp_path / "named"
    model = make_model(tokenizer, name_or_path=str(bert_folder))
    save_release(named, model, tokenizer, PREPROCESSING)
    (named / "text_encoder" / "config.json").unlink()
    with pytest.raises(CheckpointError, match=r"text_encoder/config\.json: the file is missing"):
        load_model(named)


@pytest.mark.parametrize("damage", ["truncated", "one bit"])
def test_changed_weights_are_refused(folder: Path, damage: str) -> None:
    path = folder / "model.safetensors"
    content = bytearray(path.read_bytes())
    if damage == "truncated":
        del content[-100:]
    else:
        content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"differ from the hash in config\.json.*Copy"):
        load_model(folder)


def change(folder: Path, edit) -> None:
    content = json.loads((folder / "config.json").read_text())
    edit(content)
    (folder / "config.json").write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda c: c.update(weights_sha256="0" * 64), "differ from the hash"),
        (lambda c: c.update(schema="mg3d.release/9"), "schema 'mg3d.release/9', expected"),
        (lambda c: c["model"].update(colour=1), r"model: unknown settings \['colour'\]; install"),
        (lambda c: c["model"]["text"].update(a=1), r"model\.text: unknown settings \['a'\]"),
        (lambda c: c["model"].update(embedding_dim=9), "weights and config.json disagree.*Copy"),
    ],
)
def test_a_configuration_that_does_not_fit_is_refused(folder: Path, edit, message: str) -> None:
    change(folder, edit)
    with pytest.raises(CheckpointError, match=f"(?s){message}"):
        load_model(folder)


def test_a_configuration_that_is_no_json_is_refused(folder: Path) -> None:
    (folder / "config.json").write_text('{"schema"')
    with pytest.raises(CheckpointError, match=r"config\.json: not JSON.*Copy the folder again"):
        load_model(folder)


def test_a_folder_that_is_no_release_says_what_to_give(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="Give a finished run"):
        load_model(tmp_path)


def test_the_configuration_survives_json() -> None:
    config = ModelConfig(parts=("clip",), text=TextConfig(start_id=2), decoder_channels=(8, 4))
    as_json = json.loads(json.dumps(config, default=lambda c: c.__dict__))
    assert model_config_from_dict(as_json) == config
