"""While a network is trained no weight of attention is dropped, and nothing else about it is another."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from transformers import PreTrainedModel

from tasks.ml.network.encoder import encoder_sha, load_classifier
from tasks.ml.network.fused_attention import FUSED, fused_attention
from tasks.ml.training.training import BodyTraining, train_body
from tests.ml.conftest import FAMILIES, STRIDE, WINDOW, Network, network_of, save, written

# what each family calls the share of attention's weights that is dropped
OF_ATTENTION = ("attention_probs_dropout_prob", "attention_dropout", "attn_pdrop")


@pytest.fixture(params=[*FAMILIES, "xlm-roberta"])
def network(request: pytest.FixtureRequest, tiny_texts: list[str], tiny: Callable[[], Network]) -> Network:
    return network_of(request.param, tiny_texts, tiny)


def dropping(model: PreTrainedModel, of_attention: float) -> PreTrainedModel:
    """A network of the same family that drops so much of attention's weights, and nothing else."""
    config = copy.deepcopy(model.config)
    for part in (config, getattr(config, "body", config)):
        for name in vars(part):
            if "dropout" in name or name.endswith("pdrop"):
                setattr(part, name, of_attention if name in OF_ATTENTION else 0.0)
    made = type(model)(config)
    for name, module in made.named_modules():
        # under attention over whole reports, told by no config; of ModernBERT, by attention's, and after it
        if name == "dropout" or name.endswith(".out_drop"):
            module.p = 0.0
    return made.train()


def implementations(model: PreTrainedModel) -> list[str]:
    parts = [part for part in model.modules() if isinstance(part, PreTrainedModel)]
    return [part.config._attn_implementation for part in parts]


def read(network: Network, text: str = "células atípicas e pleomórficas na punção") -> torch.Tensor:
    model, tokenizer = network
    batch = tokenizer([text, "mama"], return_tensors="pt", padding=True)
    asked = {name: batch[name] for name in ("input_ids", "attention_mask")}
    return model(**asked).logits


def test_no_weight_of_attention_is_dropped_inside_the_block_and_many_are_outside(network: Network) -> None:
    network = dropping(network[0], 0.5), network[1]
    assert not torch.equal(read(network), read(network))  # the control: it does drop them
    with fused_attention(network[0]):
        assert torch.equal(read(network), read(network))
    assert not torch.equal(read(network), read(network))


def test_inside_the_block_a_network_computes_what_it_does_when_it_answers(network: Network) -> None:
    model, tokenizer = dropping(network[0], 0.5), network[1]
    model.eval()
    with torch.no_grad():
        answered = read((model, tokenizer))
        with fused_attention(model):
            torch.testing.assert_close(read((model, tokenizer)), answered, atol=1e-6, rtol=1e-5)
            model.train()
            torch.testing.assert_close(read((model, tokenizer)), answered, atol=1e-6, rtol=1e-5)


def test_what_is_dropped_between_layers_still_is(tiny: Callable[[], Network]) -> None:
    network = tiny()
    network[0].train()
    with fused_attention(network[0]):
        assert not torch.equal(read(network), read(network))


def test_after_the_block_attention_is_as_before_also_where_it_raises(network: Network) -> None:
    model, before = network[0], implementations(network[0])
    assert set(before) == {"sdpa"}

    def interrupted() -> None:
        with fused_attention(model):
            assert set(implementations(model)) == {FUSED}
            raise KeyError

    with pytest.raises(KeyError):
        interrupted()
    assert implementations(model) == before


def test_a_network_with_another_attention_is_left_as_it_is(tiny: Callable[[], Network]) -> None:
    model = tiny()[0]
    model.set_attn_implementation("eager")
    with fused_attention(model):
        assert set(implementations(model)) == {"eager"}
    assert set(implementations(model)) == {"eager"}


def test_every_family_is_trained_so_and_saved_as_if_it_were_not(network: Network, tmp_path: Path) -> None:
    model, tokenizer = network
    config, sha = model.config.to_json_string(), encoder_sha(model, tokenizer, WINDOW, STRIDE)
    with fused_attention(model):
        assert model.config.to_json_string() == config
        assert encoder_sha(model, tokenizer, WINDOW, STRIDE) == sha
    seen: list[str] = []
    train_body(
        model, tokenizer, *written(16, 1),
        config=BodyTraining(WINDOW, STRIDE, epochs=1, learning_rate=2e-3, batch_windows=8),
        checkpoint_folder=tmp_path, seed=1, progress=lambda *_: seen.extend(implementations(model)),
    )  # fmt: skip
    assert set(seen) == {FUSED}
    save(network, tmp_path / "saved")
    files = [*tmp_path.rglob("config.json")]
    assert len(files) > 1  # checkpoints have one, too
    assert not [file for file in files if FUSED in file.read_text()]
    loaded = load_classifier(str(tmp_path / "saved"), local_files_only=True)
    assert encoder_sha(*loaded, WINDOW, STRIDE) == encoder_sha(*network, WINDOW, STRIDE)
